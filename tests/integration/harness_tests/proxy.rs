//! The harness's own cable: it does what the tests that stand on it believe.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use crate::harness::wait::DEADLINE;
use crate::harness::{Direction, Proxy, wait_until};

/// Long enough for what is not held back to arrive.
const MOMENT: Duration = Duration::from_millis(200);

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

async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

async fn hear(stream: &mut TcpStream, text: &str) {
    let mut heard = vec![0; text.len()];
    let read = timeout(DEADLINE, stream.read_exact(&mut heard)).await;
    read.unwrap_or_else(|_| panic!("{text:?} did not arrive")).unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), text);
}

async fn hears_nothing(stream: &mut TcpStream) {
    let mut buffer = [0; 64];
    let read = timeout(MOMENT, stream.read(&mut buffer)).await;
    assert!(read.is_err(), "something arrived: {read:?}");
}

async fn is_reset(stream: &mut TcpStream) {
    let read = timeout(DEADLINE, stream.read(&mut [0; 64])).await.expect("the connection stands");
    assert_eq!(read.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
}

async fn refused(address: SocketAddr) {
    wait_until("connections are refused", DEADLINE, async || match TcpStream::connect(address).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test]
async fn a_whole_cable_passes_bytes_and_ends_both_ways() {
    let world = World::new().await;
    let Ends { mut client, mut server } = world.connect().await;
    say(&mut client, "question").await;
    hear(&mut server, "question").await;
    // Half a connection may end while the other half goes on.
    client.shutdown().await.unwrap();
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    let long = "answer ".repeat(100_000);
    tokio::join!(say(&mut server, &long), hear(&mut client, &long));
    drop(server);
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!((world.proxy.connections(), world.proxy.lost_bytes()), (1, 0));
}

#[tokio::test]
async fn a_cut_cable_resets_and_refuses_until_it_is_healed() {
    let world = World::new().await;
    let mut ends = world.connect().await;
    world.proxy.cut();
    is_reset(&mut ends.client).await;
    is_reset(&mut ends.server).await;
    refused(world.proxy.address()).await;
    world.proxy.heal();
    wait_until("connections are taken again", DEADLINE, async || TcpStream::connect(world.proxy.address()).await).await;
    // That one reached the server, too.
    world.listener.accept().await.unwrap();
    let Ends { mut client, mut server } = world.connect().await;
    say(&mut client, "again").await;
    hear(&mut server, "again").await;
    // However short, a cut is a cut.
    world.proxy.cut();
    world.proxy.heal();
    is_reset(&mut client).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_not_there_through_the_cable() {
    let World { listener, proxy } = World::new().await;
    drop(listener);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    is_reset(&mut client).await;
}

#[tokio::test]
async fn a_delay_holds_back_one_direction_and_keeps_the_order() {
    let world = World::new().await;
    let Ends { mut client, mut server } = world.connect().await;
    let delay = Duration::from_secs(1);
    world.proxy.delay(Direction::Up, delay);
    let said = Instant::now();
    for part in ["one ", "two ", "three"] {
        say(&mut client, part).await;
    }
    say(&mut server, "at once").await;
    hear(&mut client, "at once").await;
    hears_nothing(&mut server).await;
    hear(&mut server, "one two three").await;
    assert!(said.elapsed() >= delay, "{:?}", said.elapsed());
    world.proxy.heal();
    say(&mut client, "quick").await;
    hear(&mut server, "quick").await;
}

#[tokio::test]
async fn a_half_open_cable_loses_one_direction_while_the_connection_stands() {
    let world = World::new().await;
    let mut old = world.connect().await;
    world.proxy.swallow(Direction::Up);
    let mut new = world.connect().await;
    for Ends { client, server } in [&mut old, &mut new] {
        say(client, "lost").await;
        hears_nothing(server).await;
        say(server, "heard").await;
        hear(client, "heard").await;
    }
    assert_eq!(world.proxy.lost_bytes(), 8);
    // Not even the end of the one is heard by the other.
    let Ends { client, server: mut deserted } = old;
    drop(client);
    hears_nothing(&mut deserted).await;
    // No connection goes on with a gap in it.
    world.proxy.heal();
    is_reset(&mut deserted).await;
    is_reset(&mut new.client).await;
}

#[tokio::test]
async fn a_connection_that_lost_nothing_outlives_a_half_open_time() {
    let world = World::new().await;
    let Ends { mut client, mut server } = world.connect().await;
    world.proxy.half_open();
    hears_nothing(&mut server).await;
    world.proxy.heal();
    say(&mut client, "still here").await;
    hear(&mut server, "still here").await;
}

#[tokio::test]
async fn without_its_proxy_a_connection_ends() {
    let World { listener, proxy } = World::new().await;
    let (client, server) = tokio::join!(TcpStream::connect(proxy.address()), listener.accept());
    let (mut client, _server) = (client.unwrap(), server.unwrap());
    let address = proxy.address();
    drop(proxy);
    let read = timeout(DEADLINE, client.read(&mut [0; 8])).await.expect("the connection stands");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    refused(address).await;
}
