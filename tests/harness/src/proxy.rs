//! A TCP proxy between any two parts that injects network faults:
//!
//! - *cut*: connections are reset and new ones refused.
//! - *delay*: bytes of one direction arrive later, in order.
//! - *drop* (half-open): connections stay open and new ones are accepted, but bytes and ends of connections of one
//!   direction are discarded.
//!
//! TCP streams have no gaps: healing the proxy resets each connection that lost bytes; the others continue. The kernel's
//! `netem` could do the same, but is not available on every machine.

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

/// Chunks buffered per connection and direction.
const MAX_BUFFERED_CHUNKS: usize = 1024;
/// Bytes read at once.
const CHUNK_SIZE: usize = 16 * 1024;

/// The direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// The faults of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct DirectionFaults {
    delay: Duration,
    drop: bool,
}

/// The current faults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Faults {
    cut: bool,
    /// The number of cuts, so that a cut followed at once by a heal is noticed.
    cuts: usize,
    up: DirectionFaults,
    down: DirectionFaults,
}

impl Faults {
    const fn faults(&self, direction: Direction) -> DirectionFaults {
        match direction {
            Direction::Up => self.up,
            Direction::Down => self.down,
        }
    }

    const fn faults_mut(&mut self, direction: Direction) -> &mut DirectionFaults {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }

    const fn drops(&self) -> bool {
        self.up.drop || self.down.drop
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

/// The proxy. Its connections are closed on drop.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    faults: watch::Sender<Faults>,
    accepted: Arc<AtomicUsize>,
    lost: Arc<AtomicUsize>,
    running: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Proxy {
    /// A proxy without faults to `target`, which may start listening later.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = listen((Ipv4Addr::LOCALHOST, ports::free()).into()).await;
        let address = listener.local_addr().unwrap();
        let (faults, seen) = watch::channel(Faults::default());
        let (accepted, lost) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counters = (Arc::clone(&accepted), Arc::clone(&lost));
        let running = tokio::spawn(serve(listener, address, target, seen, counters));
        Self { address, faults, accepted, lost, running }
    }

    /// The address for clients.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets connections and refuses new ones.
    pub fn cut(&self) {
        self.faults.send_modify(|faults| (faults.cut, faults.cuts) = (true, faults.cuts + 1));
    }

    /// Delays bytes in this direction.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.faults.send_modify(|faults| faults.faults_mut(direction).delay = delay);
    }

    /// Discards bytes in this direction; connections stay open.
    pub fn drop_bytes(&self, direction: Direction) {
        self.faults.send_modify(|faults| faults.faults_mut(direction).drop = true);
    }

    /// Discards bytes in both directions.
    pub fn half_open(&self) {
        self.faults.send_modify(|faults| (faults.up.drop, faults.down.drop) = (true, true));
    }

    /// Removes all faults.
    pub fn heal(&self) {
        self.faults.send_modify(|faults| *faults = Faults { cuts: faults.cuts, ..Faults::default() });
    }

    /// The number of connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// The number of bytes discarded so far; zero means that a fault had no effect.
    #[must_use]
    pub fn lost_bytes(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }
}

/// Binds the port; waits if another process uses it for a moment.
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
    mut faults: watch::Receiver<Faults>,
    (accepted, lost): (Arc<AtomicUsize>, Arc<AtomicUsize>),
) {
    // Dropped with this task, which closes all connections.
    let mut connections = JoinSet::new();
    let mut listener = Some(listener);
    loop {
        // Refusing needs a closed listener: accepting and closing would look different to the client.
        let cut = faults.borrow_and_update().cut;
        match &listener {
            Some(_) if cut => listener = None,
            None if !cut => listener = Some(listen(address).await),
            _ => {}
        }
        let next = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            client = next => if let Ok((client, _)) = client {
                accepted.fetch_add(1, Ordering::SeqCst);
                connections.spawn(connect(client, target, faults.clone(), Arc::clone(&lost)));
            },
            changed = faults.changed() => if changed.is_err() {
                return;
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(client: TcpStream, target: SocketAddr, faults: watch::Receiver<Faults>, lost_bytes: Arc<AtomicUsize>) {
    let cuts = faults.borrow().cuts;
    let Ok(server) = TcpStream::connect(target).await else {
        let _ = client.set_zero_linger();
        return;
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    Connection { client, server, faults, cuts, lost: AtomicBool::new(false), lost_bytes }.carry().await;
}

/// One connection through the proxy.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    faults: watch::Receiver<Faults>,
    /// The number of cuts when it was opened.
    cuts: usize,
    /// Whether bytes or the end of a direction were discarded.
    lost: AtomicBool,
    lost_bytes: Arc<AtomicUsize>,
}

impl Connection {
    async fn carry(mut self) {
        let ended = {
            let (faults, cuts) = (&self.faults, self.cuts);
            let shared = Shared { faults, cuts, lost: &self.lost, lost_bytes: &self.lost_bytes };
            let (from_client, to_client) = self.client.split();
            let (from_server, to_server) = self.server.split();
            let up = shared.pass(from_client, to_server, Direction::Up);
            let down = shared.pass(from_server, to_client, Direction::Down);
            tokio::select! {
                ended = async { tokio::try_join!(up, down) } => ended.map(drop),
                () = shared.broken() => Err(io::ErrorKind::ConnectionReset.into()),
            }
        };
        if ended.is_err() {
            // Closing with zero linger resets a connection.
            let _ = self.client.set_zero_linger();
            let _ = self.server.set_zero_linger();
        }
    }
}

/// What both directions of a connection share.
#[derive(Clone, Copy)]
struct Shared<'a> {
    faults: &'a watch::Receiver<Faults>,
    cuts: usize,
    lost: &'a AtomicBool,
    lost_bytes: &'a AtomicUsize,
}

impl Shared<'_> {
    /// Returns when the proxy is cut, or healed while this connection has a gap.
    async fn broken(self) {
        let mut faults = self.faults.clone();
        let gap = || self.lost.load(Ordering::SeqCst);
        let broken = |now: &Faults| now.cuts != self.cuts || (!now.drops() && gap());
        if faults.wait_for(broken).await.is_err() {
            // The proxy was dropped, which is about to drop this task and so close the connection without a reset.
            std::future::pending::<()>().await;
        }
    }

    fn faults(self, direction: Direction) -> DirectionFaults {
        self.faults.borrow().faults(direction)
    }

    /// Records a loss; the connection stays open until [`Shared::broken`] returns.
    async fn lose<T>(self) -> T {
        self.lost.store(true, Ordering::SeqCst);
        std::future::pending().await
    }

    /// Forwards bytes in one direction until the sender ends it.
    async fn pass(self, from: ReadHalf<'_>, to: WriteHalf<'_>, direction: Direction) -> io::Result<()> {
        let (queue, queued) = mpsc::channel(MAX_BUFFERED_CHUNKS);
        tokio::try_join!(self.receive(from, queue, direction), self.forward(queued, to, direction)).map(drop)
    }

    async fn receive(
        self,
        mut from: ReadHalf<'_>,
        queue: mpsc::Sender<(Instant, Vec<u8>)>,
        direction: Direction,
    ) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK_SIZE];
        loop {
            let read = from.read(&mut buffer).await;
            let faults = self.faults(direction);
            match read {
                Ok(count) if count > 0 && faults.drop => {
                    self.lost.store(true, Ordering::SeqCst);
                    self.lost_bytes.fetch_add(count, Ordering::SeqCst);
                }
                _ if faults.drop => return self.lose().await,
                Ok(0) => return Ok(()),
                Ok(count) => {
                    let due = Instant::now() + faults.delay;
                    if queue.send((due, buffer[..count].to_vec())).await.is_err() {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn forward(
        self,
        mut queued: mpsc::Receiver<(Instant, Vec<u8>)>,
        mut to: WriteHalf<'_>,
        direction: Direction,
    ) -> io::Result<()> {
        while let Some((due, bytes)) = queued.recv().await {
            tokio::time::sleep_until(due).await;
            if let Err(error) = to.write_all(&bytes).await {
                // The receiver closed the connection; the other direction would tell the sender.
                if self.faults(direction.opposite()).drop {
                    return self.lose().await;
                }
                return Err(error);
            }
        }
        to.shutdown().await
    }
}
