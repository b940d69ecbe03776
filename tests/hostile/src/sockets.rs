//! Floods of raw sockets at the API, from addresses that no honest user has.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::flood::Counts;

/// The pause between two bytes of a head.
const TRICKLE: Duration = Duration::from_millis(200);
/// The receive buffer of a client that does not read, in bytes: the system's smallest.
const RECEIVE_BUFFER: u32 = 1024;
/// Requests in one write.
const REQUESTS_PER_WRITE: usize = 200;
/// A request with a large answer.
const REQUEST: &[u8] = b"GET /api/openapi.json HTTP/1.1\r\nhost: dockhost\r\n\r\n";

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// They send nothing.
    Silent,
    /// They send the head of a request byte by byte.
    SlowHead,
    /// They request and never read an answer.
    Unread,
}

/// One flood.
#[derive(Debug, Clone, Copy)]
pub struct Sockets {
    pub behaviour: Behaviour,
    /// Connections that are tried side by side.
    pub connections: u32,
    /// The addresses that they come from.
    pub addresses: u8,
}

/// Holds connections until `stop`. One that is closed is opened again at once.
pub async fn run(flood: Sockets, api: SocketAddr, stop: CancellationToken) -> Arc<Counts> {
    let counts = Arc::new(Counts::default());
    let mut connections = JoinSet::new();
    for n in 0..flood.connections {
        // 127.0.0.1 is the honest user.
        let from = Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(n % u32::from(flood.addresses)).unwrap());
        let counts = Arc::clone(&counts);
        connections.spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                let Ok(stream) = connect(from, api).await else {
                    counts.refused.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    continue;
                };
                counts.connected.fetch_add(1, Ordering::Relaxed);
                hold(stream, flood.behaviour, &counts).await;
                counts.cut.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    while connections.join_next().await.is_some() {}
    counts
}

async fn connect(from: Ipv4Addr, api: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind((from, 0).into())?;
    socket.connect(api).await
}

/// Returns when the server has closed the connection.
async fn hold(mut stream: TcpStream, behaviour: Behaviour, counts: &Counts) {
    match behaviour {
        Behaviour::Silent => drop(stream.read(&mut [0]).await),
        Behaviour::SlowHead => {
            for byte in REQUEST.iter().cycle() {
                if *byte == b'\n' || stream.write_all(&[*byte]).await.is_err() {
                    // Without an end of line there is no end of the head.
                    break;
                }
                counts.sent.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(TRICKLE).await;
            }
            drop(stream.read(&mut [0]).await);
        }
        Behaviour::Unread => {
            // Many at once: small packets would cost the attack more than the server.
            let requests = REQUEST.repeat(REQUESTS_PER_WRITE);
            while stream.write_all(&requests).await.is_ok() {
                counts.sent.fetch_add(REQUESTS_PER_WRITE as u64, Ordering::Relaxed);
            }
        }
    }
}
