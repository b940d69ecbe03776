//! A cable between any two parts, which can be cut, slowed down, or made to lose what goes through it.
//!
//! In: TCP connections to [`Proxy::address`]. Out: the same bytes to the target and back, as the [`Condition`] of the
//! moment lets them. Each direction is on its own:
//!
//! - *cut*: connections are reset, new ones refused.
//! - *delay*: bytes arrive later, in order.
//! - *swallow* (half-open): connections stand and new ones are taken, but bytes vanish, and so does word of an end.
//!
//! TCP never leaves a gap in a stream: a connection that lost bytes is reset when the cable is whole again; the others
//! go on. There is no other way to do this on a machine without a kernel that can (`netem`).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::ports;

/// Chunks on the way in one direction of one connection; more are left in the sender's hands.
const ON_THE_WAY: usize = 1024;
const CHUNK: usize = 16 * 1024;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client, who connected, to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What becomes of bytes that go one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Way {
    delay: Duration,
    swallow: bool,
}

/// The state of the cable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Condition {
    cut: bool,
    /// How often it was cut: a cut that is healed at once must not go unseen.
    cuts: usize,
    up: Way,
    down: Way,
}

impl Condition {
    const fn way(&self, direction: Direction) -> Way {
        match direction {
            Direction::Up => self.up,
            Direction::Down => self.down,
        }
    }

    const fn way_mut(&mut self, direction: Direction) -> &mut Way {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }

    const fn loses(&self) -> bool {
        self.up.swallow || self.down.swallow
    }
}

impl Direction {
    const fn opposite(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

/// The cable. Dropped, all its connections end.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    condition: watch::Sender<Condition>,
    taken: Arc<AtomicUsize>,
    lost: Arc<AtomicUsize>,
    running: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Proxy {
    /// A whole cable to `target`, whoever listens there now or later.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = listen((Ipv4Addr::LOCALHOST, ports::free()).into()).await;
        let address = listener.local_addr().unwrap();
        let (condition, seen) = watch::channel(Condition::default());
        let (taken, lost) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counters = (Arc::clone(&taken), Arc::clone(&lost));
        let running = tokio::spawn(serve(listener, address, target, seen, counters));
        Self { address, condition, taken, lost, running }
    }

    /// Where clients connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets what is connected, refuses what wants to.
    pub fn cut(&self) {
        self.condition.send_modify(|condition| (condition.cut, condition.cuts) = (true, condition.cuts + 1));
    }

    /// Bytes that go this way arrive so much later.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.condition.send_modify(|condition| condition.way_mut(direction).delay = delay);
    }

    /// Bytes that go this way vanish, while connections stand.
    pub fn swallow(&self, direction: Direction) {
        self.condition.send_modify(|condition| condition.way_mut(direction).swallow = true);
    }

    /// Bytes vanish both ways.
    pub fn half_open(&self) {
        self.condition.send_modify(|condition| (condition.up.swallow, condition.down.swallow) = (true, true));
    }

    /// Makes the cable whole: nothing is cut, slow or lost any more.
    pub fn heal(&self) {
        self.condition.send_modify(|condition| *condition = Condition { cuts: condition.cuts, ..Condition::default() });
    }

    /// Connections that were taken so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }

    /// Bytes that vanished so far: a fault that met no traffic was none.
    #[must_use]
    pub fn lost_bytes(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }
}

/// The port is our own and comes back soon: a moment's other holder is waited for.
async fn listen(address: SocketAddr) -> TcpListener {
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    loop {
        pause.tick().await;
        if let Ok(listener) = TcpListener::bind(address).await {
            return listener;
        }
    }
}

async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    target: SocketAddr,
    mut condition: watch::Receiver<Condition>,
    (taken, lost): (Arc<AtomicUsize>, Arc<AtomicUsize>),
) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    let mut listener = Some(listener);
    loop {
        // Who is refused must find nobody there: an accepted connection that ends at once is another thing.
        let cut = condition.borrow_and_update().cut;
        match &listener {
            Some(_) if cut => listener = None,
            None if !cut => listener = Some(listen(address).await),
            _ => {}
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accepted => if let Ok((client, _)) = accepted {
                taken.fetch_add(1, Ordering::SeqCst);
                connections.spawn(connect(client, target, condition.clone(), Arc::clone(&lost)));
            },
            changed = condition.changed() => if changed.is_err() {
                return;
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(
    client: TcpStream,
    target: SocketAddr,
    condition: watch::Receiver<Condition>,
    lost_bytes: Arc<AtomicUsize>,
) {
    let cuts = condition.borrow().cuts;
    let Ok(server) = TcpStream::connect(target).await else {
        let _ = client.set_zero_linger();
        return;
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    Connection { client, server, condition, cuts, lost: AtomicBool::new(false), lost_bytes }.carry().await;
}

/// One connection through the cable.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    condition: watch::Receiver<Condition>,
    /// How often the cable was cut before.
    cuts: usize,
    /// Whether bytes, or word of an end, have vanished.
    lost: AtomicBool,
    lost_bytes: Arc<AtomicUsize>,
}

impl Connection {
    async fn carry(mut self) {
        let ended = {
            let (condition, cuts) = (&self.condition, self.cuts);
            let cable = Cable { condition, cuts, lost: &self.lost, lost_bytes: &self.lost_bytes };
            let (from_client, to_client) = self.client.split();
            let (from_server, to_server) = self.server.split();
            let up = cable.pass(from_client, to_server, Direction::Up);
            let down = cable.pass(from_server, to_client, Direction::Down);
            tokio::select! {
                ended = async { tokio::try_join!(up, down) } => ended.map(drop),
                () = cable.broken() => Err(io::ErrorKind::ConnectionReset.into()),
            }
        };
        if ended.is_err() {
            // Closed without lingering, a connection is reset.
            let _ = self.client.set_zero_linger();
            let _ = self.server.set_zero_linger();
        }
    }
}

/// What both directions of a connection look at.
#[derive(Clone, Copy)]
struct Cable<'a> {
    condition: &'a watch::Receiver<Condition>,
    cuts: usize,
    lost: &'a AtomicBool,
    lost_bytes: &'a AtomicUsize,
}

impl Cable<'_> {
    /// Ends when the cable is cut, or is whole again and this connection has a gap.
    async fn broken(self) {
        let mut condition = self.condition.clone();
        let gap = || self.lost.load(Ordering::SeqCst);
        let broken = |now: &Condition| now.cuts != self.cuts || (!now.loses() && gap());
        // The proxy is gone: this task is about to be, too.
        let _ = condition.wait_for(broken).await;
    }

    fn way(self, direction: Direction) -> Way {
        self.condition.borrow().way(direction)
    }

    /// Notes that something vanished; the connection stands until [`Cable::broken`] ends it.
    async fn vanish<T>(self) -> T {
        self.lost.store(true, Ordering::SeqCst);
        std::future::pending().await
    }

    /// Passes bytes on in one direction until the sender has no more.
    async fn pass(self, from: ReadHalf<'_>, to: WriteHalf<'_>, direction: Direction) -> io::Result<()> {
        let (queue, queued) = mpsc::channel(ON_THE_WAY);
        tokio::try_join!(self.take(from, queue, direction), self.give(queued, to, direction)).map(drop)
    }

    async fn take(
        self,
        mut from: ReadHalf<'_>,
        queue: mpsc::Sender<(Instant, Vec<u8>)>,
        direction: Direction,
    ) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = from.read(&mut buffer).await;
            let way = self.way(direction);
            match read {
                Ok(count) if count > 0 && way.swallow => {
                    self.lost.store(true, Ordering::SeqCst);
                    self.lost_bytes.fetch_add(count, Ordering::SeqCst);
                }
                _ if way.swallow => return self.vanish().await,
                Ok(0) => return Ok(()),
                Ok(count) => {
                    let due = Instant::now() + way.delay;
                    if queue.send((due, buffer[..count].to_vec())).await.is_err() {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn give(
        self,
        mut queued: mpsc::Receiver<(Instant, Vec<u8>)>,
        mut to: WriteHalf<'_>,
        direction: Direction,
    ) -> io::Result<()> {
        while let Some((due, bytes)) = queued.recv().await {
            tokio::time::sleep_until(due).await;
            if let Err(error) = to.write_all(&bytes).await {
                // Word of the receiver's end would go the other way.
                if self.way(direction.opposite()).swallow {
                    return self.vanish().await;
                }
                return Err(error);
            }
        }
        to.shutdown().await
    }
}
