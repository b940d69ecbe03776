//! Clients that hold connections without using them: raw sockets against a real replica. The time limits themselves are
//! tested on a paused clock (`src/http/server/tests.rs`).

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};

use dockhost::app::open_files;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::http::Client;
use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

/// Connections that the hostile client tries to hold.
const ATTEMPTS: usize = 1000;
/// The default of `DOCKHOST_MAX_CONNECTIONS_PER_ADDRESS`.
const PER_ADDRESS: usize = 256;

/// A connection from another address than the one of honest clients.
async fn connect(url: &str) -> TcpStream {
    let address: SocketAddr = url.trim_start_matches("http://").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, 2), 0).into()).unwrap();
    socket.connect(address).await.unwrap()
}

/// Whether the server has closed a connection, from which nothing has been read.
fn is_closed(connection: &TcpStream) -> bool {
    match connection.try_read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

async fn assert_reachable(client: &Client) {
    for _ in 0..5 {
        let health = client.get("/health").await;
        assert_eq!(health.status, 200, "{health:?}");
    }
}

#[tokio::test]
async fn connections_of_a_silent_client_leave_the_api_reachable_for_others() {
    open_files::raise_limit(2 * ATTEMPTS);
    let world = World::start(1).await;
    let url = &world.replicas[0].url;
    let mut held = Vec::new();
    for n in 0..ATTEMPTS {
        let mut connection = connect(url).await;
        if n % 2 == 0 {
            // A refused connection is reset.
            let _ = connection.write_all(b"GET / HT").await;
        }
        held.push(connection);
    }
    assert_reachable(&world.client(0)).await;
    wait_until("the server closes what exceeds the share of an address", DEADLINE, async || {
        let open = held.iter().filter(|connection| !is_closed(connection)).count();
        if open <= PER_ADDRESS { Ok(()) } else { Err(open) }
    })
    .await;
    drop(held);
    wait_until("the client may connect again", DEADLINE, async || {
        let connection = connect(url).await;
        let readable = tokio::time::timeout(DEADLINE / 100, connection.readable()).await;
        if readable.is_err() { Ok(()) } else { Err("closed at once") }
    })
    .await;
}

/// The system accepts connections for the server until it has no file left for one more.
#[tokio::test]
async fn server_without_a_free_file_serves_who_is_connected_and_recovers() {
    const FILES: usize = 150;
    let world = World::start(0).await;
    let log = world.data.path().join("limited.log");
    let read_log = || std::fs::read_to_string(&log).unwrap_or_default();
    let mut server = world.server("serve", log.clone());
    let script = format!("ulimit -n {FILES} && exec \"$@\"");
    let program = std::mem::replace(&mut server.path, "/bin/sh".into());
    server.args = ["-c".into(), script.into(), "sh".into(), program.into()].into_iter().chain(server.args).collect();
    let server = server.start().unwrap();
    let url = wait_until("the server serves", DEADLINE, async || {
        let text = read_log();
        let line = text.lines().find(|line| line.contains("the API is at ")).ok_or(text.clone())?;
        line.rsplit(' ').next().map(str::to_owned).ok_or(text.clone())
    })
    .await;
    // It keeps this connection.
    let connected = Client::new(&url);
    assert_reachable(&connected).await;

    let mut held = Vec::new();
    for _ in 0..FILES {
        held.push(connect(&url).await);
    }
    wait_until("the server has no file left", DEADLINE, async || {
        let text = read_log();
        if text.contains("can't accept connections") { Ok(()) } else { Err(text) }
    })
    .await;
    assert_reachable(&connected).await;
    drop(held);
    assert_reachable(&Client::new(&url)).await;
    server.kill().await;
}
