//! Clients that hold connections without using them: raw sockets against a real replica. The time limits themselves are
//! tested on a paused clock (`src/http/server/tests.rs`).

use std::io::ErrorKind;
use std::net::Ipv4Addr;

use dockhost::app::open_files;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

/// Connections that the hostile client tries to hold.
const ATTEMPTS: usize = 1000;
/// The default of `DOCKHOST_MAX_CONNECTIONS_PER_ADDRESS`.
const PER_ADDRESS: usize = 256;

/// A connection from another address than the one of honest clients.
async fn connect(world: &World) -> TcpStream {
    let port = world.replicas[0].url.rsplit(':').next().unwrap().parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, 2), 0).into()).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, port).into()).await.unwrap()
}

/// Whether the server has closed a connection, from which nothing has been read.
fn is_closed(connection: &TcpStream) -> bool {
    match connection.try_read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

async fn assert_reachable(world: &World) {
    for _ in 0..5 {
        let health = world.client(0).get("/health").await;
        assert_eq!(health.status, 200, "{health:?}");
    }
}

#[tokio::test]
async fn connections_of_a_silent_client_leave_the_api_reachable_for_others() {
    open_files::raise_limit(2 * ATTEMPTS);
    let world = World::start(1).await;
    let mut held = Vec::new();
    for n in 0..ATTEMPTS {
        let mut connection = connect(&world).await;
        if n % 2 == 0 {
            // A refused connection is reset.
            let _ = connection.write_all(b"GET / HT").await;
        }
        held.push(connection);
    }
    assert_reachable(&world).await;
    wait_until("the server closes what exceeds the share of an address", DEADLINE, async || {
        let open = held.iter().filter(|connection| !is_closed(connection)).count();
        if open <= PER_ADDRESS { Ok(()) } else { Err(open) }
    })
    .await;
    drop(held);
    wait_until("the client may connect again", DEADLINE, async || {
        let connection = connect(&world).await;
        let readable = tokio::time::timeout(DEADLINE / 100, connection.readable()).await;
        if readable.is_err() { Ok(()) } else { Err("closed at once") }
    })
    .await;
}
