use std::net::Ipv4Addr;

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";
const GET_SLOW: &[u8] = b"GET /slow HTTP/1.1\r\nhost: test\r\n\r\n";
/// Larger than the buffer of [`connect`].
const LARGE: usize = 64 * 1024;
const SLOW: Duration = Duration::from_secs(50);

fn service() -> Router {
    let slow = || async {
        sleep(SLOW).await;
        "done"
    };
    Router::new()
        .route("/", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }))
        .route("/slow", get(slow))
        .route("/echo", get(echo))
        .route("/large", get(|| async { "x".repeat(LARGE) }))
}

fn peer() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 1234).into()
}

/// A connection to a server on the paused clock; the task ends with the connection.
fn connect(stages: &ShutdownStages) -> (DuplexStream, JoinHandle<()>) {
    let (client, stream) = duplex(1024);
    let server = Server { service: service(), tls: None, timeouts: StreamTimeouts::default(), stages: stages.clone() };
    let permit = ConnectionSlots::new(MaxConnections::default(), vec![]).admit(peer().ip()).unwrap();
    (client, tokio::spawn(async move { server.requests(stream, peer(), permit).await }))
}

/// Answers with what it receives, after the upgrade.
async fn echo(mut request: Request<Body>) -> Response<Body> {
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let (mut receive, mut send) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
        tokio::io::copy(&mut receive, &mut send).await
    });
    let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    response.header("connection", "upgrade").header("upgrade", "echo").body(Body::empty()).unwrap()
}

/// Reads one response that ends with this text.
async fn read_until(client: &mut DuplexStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut byte = [0];
        assert_eq!(client.read(&mut byte).await.unwrap(), 1, "the connection ended after {text:?}");
        text.push(byte[0].into());
    }
    text
}

/// Whoever reads from it limits its silence.
#[tokio::test(start_paused = true)]
async fn connection_that_is_upgraded_may_be_silent_between_messages() {
    let (mut client, server) = connect(&ShutdownStages::default());
    let upgrade = b"GET /echo HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    client.write_all(upgrade).await.unwrap();
    read_until(&mut client, "\r\n\r\n").await;
    server.await.unwrap();
    for message in ["a", "bc"] {
        sleep(2 * StreamTimeouts::default().idle).await;
        client.write_all(message.as_bytes()).await.unwrap();
        assert_eq!(read_until(&mut client, message).await, message);
    }
}

/// A client sends requests and never reads: what the system buffers for it is bounded.
#[tokio::test]
async fn listener_accepts_connections_with_bounded_buffers() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    bound_buffers(&listener).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(client, listener.accept());
    let (_client, (accepted, _)) = (client.unwrap(), accepted.unwrap());
    for size in [sockopt::socket_recv_buffer_size(&accepted), sockopt::socket_send_buffer_size(&accepted)] {
        assert!((1..=2 * MAX_SYSTEM_BUFFER).contains(&size.unwrap()), "{size:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn connection_that_sends_nothing_is_closed_after_the_head_timeout() {
    let (_client, connection) = connect(&ShutdownStages::default());
    let begun = Instant::now();
    connection.await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), StreamTimeouts::default().head.as_secs());
}

#[tokio::test(start_paused = true)]
async fn connection_that_trickles_a_head_is_closed_after_the_head_timeout() {
    let (mut client, connection) = connect(&ShutdownStages::default());
    client.write_all(&GET[..3]).await.unwrap();
    let begun = Instant::now();
    let trickle = async {
        for byte in GET[3..].chunks(1) {
            sleep(Duration::from_secs(3)).await;
            if client.write_all(byte).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(trickle, async {
        connection.await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), StreamTimeouts::default().head.as_secs());
    });
}

#[tokio::test(start_paused = true)]
async fn connection_between_requests_is_kept_for_the_idle_timeout() {
    let (mut client, connection) = connect(&ShutdownStages::default());
    let idle = StreamTimeouts::default().idle;
    let mut answered = Instant::now();
    for pause in [Duration::ZERO, idle - Duration::from_secs(1)] {
        sleep(pause).await;
        client.write_all(GET).await.unwrap();
        let answer = read_until(&mut client, &peer().to_string()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answered = Instant::now();
    }
    connection.await.unwrap();
    assert_eq!(answered.elapsed().as_secs(), idle.as_secs());
}

#[tokio::test(start_paused = true)]
async fn connection_with_a_slow_request_is_not_closed() {
    let (mut client, _connection) = connect(&ShutdownStages::default());
    for _ in 0..2 {
        client.write_all(GET_SLOW).await.unwrap();
        let answer = read_until(&mut client, "done").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn connection_that_does_not_read_its_answer_is_closed_after_the_write_timeout() {
    let (mut client, connection) = connect(&ShutdownStages::default());
    client.write_all(b"GET /large HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    let begun = Instant::now();
    connection.await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), StreamTimeouts::default().write.as_secs());
}

#[tokio::test(start_paused = true)]
async fn answer_during_a_shutdown_closes_the_connection() {
    let stages = ShutdownStages::default();
    let (mut client, connection) = connect(&stages);
    client.write_all(GET).await.unwrap();
    assert!(!read_until(&mut client, &peer().to_string()).await.contains("close"));
    stages.announced.cancel();
    client.write_all(GET).await.unwrap();
    assert!(read_until(&mut client, &peer().to_string()).await.contains("connection: close"));
    connection.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn draining_ends_idle_connections_and_waits_for_requests_in_flight() {
    let stages = ShutdownStages::default();
    let ((mut idle, idle_ended), (mut late, _), (mut busy, busy_ended)) =
        (connect(&stages), connect(&stages), connect(&stages));
    busy.write_all(GET_SLOW).await.unwrap();
    idle.write_all(GET).await.unwrap();
    read_until(&mut idle, &peer().to_string()).await;
    stages.announced.cancel();
    stages.draining.cancel();
    // On its way when the shutdown began.
    late.write_all(GET).await.unwrap();
    read_until(&mut late, &peer().to_string()).await;
    let begun = Instant::now();
    idle_ended.await.unwrap();
    assert!(begun.elapsed() <= IDLE_GRACE, "{:?}", begun.elapsed());
    read_until(&mut busy, "done").await;
    busy_ended.await.unwrap();
}

#[tokio::test]
async fn serve_closes_connections_beyond_the_share_of_an_address_and_ends_when_drained() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = ConnectionLimits { max: MaxConnections { total: 10, per_address: 2 }, ..ConnectionLimits::default() };
    let stages = ShutdownStages::default();
    let listener = Listener { tcp: listener, tls: None };
    let serving = tokio::spawn(serve(listener, service(), limits, stages.clone()));
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(GET).await.unwrap();
        assert!(client.read(&mut [0; 1024]).await.unwrap() > 0);
        open.push(client);
    }
    let mut refused = TcpStream::connect(address).await.unwrap();
    assert!(matches!(refused.read(&mut [0; 1]).await, Ok(0) | Err(_)), "a third connection was accepted");
    stages.end();
    serving.await.unwrap().unwrap();
    assert_eq!(open[0].read(&mut [0; 1]).await.unwrap(), 0);
    TcpStream::connect(address).await.expect_err("the listener is open");
}
