//! The harness's TCP proxy and the faults that it injects.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use crate::harness::wait::DEADLINE;
use crate::harness::{Direction, Proxy, wait_until};

/// Long enough for bytes to arrive that are not delayed.
const QUIET_PERIOD: Duration = Duration::from_millis(200);

/// Both ends of one connection through a proxy.
struct Ends {
    client: TcpStream,
    server: TcpStream,
}

struct World {
    listener: TcpListener,
    proxy: Proxy,
}

impl World {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::to(listener.local_addr().unwrap()).await;
        Self { listener, proxy }
    }

    async fn connect(&self) -> Ends {
        let (client, server) = tokio::join!(TcpStream::connect(self.proxy.address()), self.listener.accept());
        Ends { client: client.unwrap(), server: server.unwrap().0 }
    }
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

async fn receive(stream: &mut TcpStream, text: &str) {
    let mut received = vec![0; text.len()];
    let read = timeout(DEADLINE, stream.read_exact(&mut received)).await;
    read.unwrap_or_else(|_| panic!("{text:?} did not arrive")).unwrap();
    assert_eq!(String::from_utf8_lossy(&received), text);
}

async fn assert_quiet(stream: &mut TcpStream) {
    let mut buffer = [0; 64];
    let read = timeout(QUIET_PERIOD, stream.read(&mut buffer)).await;
    assert!(read.is_err(), "unexpected bytes: {read:?}");
}

async fn assert_reset(stream: &mut TcpStream) {
    let read = timeout(DEADLINE, stream.read(&mut [0; 64])).await.expect("the connection is still open");
    assert_eq!(read.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
}

async fn wait_until_refused(address: SocketAddr) {
    wait_until("connections are refused", DEADLINE, async || match TcpStream::connect(address).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test]
async fn proxy_without_fault_forwards_bytes_and_ends() {
    let world = World::new().await;
    let Ends { mut client, mut server } = world.connect().await;
    send(&mut client, "question").await;
    receive(&mut server, "question").await;
    // One direction can end while the other continues.
    client.shutdown().await.unwrap();
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    let long = "answer ".repeat(100_000);
    tokio::join!(send(&mut server, &long), receive(&mut client, &long));
    drop(server);
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!((world.proxy.connections(), world.proxy.lost_bytes()), (1, 0));
}

#[tokio::test]
async fn proxy_cut_resets_and_refuses_until_healed() {
    let world = World::new().await;
    let mut ends = world.connect().await;
    world.proxy.cut();
    assert_reset(&mut ends.client).await;
    assert_reset(&mut ends.server).await;
    wait_until_refused(world.proxy.address()).await;
    world.proxy.heal();
    wait_until("connections are accepted again", DEADLINE, async || TcpStream::connect(world.proxy.address()).await)
        .await;
    // Accept the connection of the line above.
    world.listener.accept().await.unwrap();
    let Ends { mut client, mut server } = world.connect().await;
    send(&mut client, "again").await;
    receive(&mut server, "again").await;
    // Even a short cut resets the connection.
    world.proxy.cut();
    world.proxy.heal();
    assert_reset(&mut client).await;
}

#[tokio::test]
async fn proxy_server_down_resets_the_client() {
    let World { listener, proxy } = World::new().await;
    drop(listener);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_reset(&mut client).await;
}

#[tokio::test]
async fn proxy_delay_affects_one_direction_and_keeps_order() {
    let world = World::new().await;
    let Ends { mut client, mut server } = world.connect().await;
    let delay = Duration::from_secs(1);
    world.proxy.delay(Direction::Up, delay);
    let sent = Instant::now();
    for part in ["one ", "two ", "three"] {
        send(&mut client, part).await;
    }
    send(&mut server, "at once").await;
    receive(&mut client, "at once").await;
    assert_quiet(&mut server).await;
    receive(&mut server, "one two three").await;
    assert!(sent.elapsed() >= delay, "{:?}", sent.elapsed());
    world.proxy.heal();
    send(&mut client, "quick").await;
    receive(&mut server, "quick").await;
}

#[tokio::test]
async fn proxy_half_open_drops_one_direction() {
    let world = World::new().await;
    let mut old = world.connect().await;
    world.proxy.drop_bytes(Direction::Up);
    let mut new = world.connect().await;
    for Ends { client, server } in [&mut old, &mut new] {
        send(client, "lost").await;
        assert_quiet(server).await;
        send(server, "received").await;
        receive(client, "received").await;
    }
    assert_eq!(world.proxy.lost_bytes(), 8);
    // The end of the connection is not forwarded either.
    let Ends { client, mut server } = old;
    drop(client);
    assert_quiet(&mut server).await;
    // A connection that lost bytes is reset.
    world.proxy.heal();
    assert_reset(&mut server).await;
    assert_reset(&mut new.client).await;
}

#[tokio::test]
async fn proxy_half_open_connection_without_loss_continues_after_healing() {
    let world = World::new().await;
    let Ends { mut client, mut server } = world.connect().await;
    world.proxy.half_open();
    assert_quiet(&mut server).await;
    world.proxy.heal();
    send(&mut client, "still here").await;
    receive(&mut server, "still here").await;
}

#[tokio::test]
async fn proxy_dropped_closes_its_connections() {
    let World { listener, proxy } = World::new().await;
    let (client, server) = tokio::join!(TcpStream::connect(proxy.address()), listener.accept());
    let (mut client, _server) = (client.unwrap(), server.unwrap());
    let address = proxy.address();
    drop(proxy);
    let read = timeout(DEADLINE, client.read(&mut [0; 8])).await.expect("the connection is still open");
    assert_eq!(read.unwrap(), 0, "a reset or data instead of the end");
    wait_until_refused(address).await;
}
