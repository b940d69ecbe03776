//! A closed loop of HTTP clients: each sends its next request after the response to the last one.
//!
//! Each client has one connection and does as little work per request as possible, because the load generator shares the
//! processors with the server that is measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Requests during this time are not counted.
const WARM_UP: Duration = Duration::from_millis(500);

pub type Body = Full<Bytes>;

/// The result of a loop.
#[derive(Debug)]
pub struct Load {
    /// Responses per second.
    pub rate: f64,
    /// Microseconds from the request to the end of its response.
    pub micros: Histogram<u64>,
    /// Responses without a success status, including the warm-up.
    pub refused: u64,
}

impl Load {
    /// Milliseconds at a quantile.
    pub fn millis(&self, quantile: f64) -> f64 {
        Duration::from_micros(self.micros.value_at_quantile(quantile)).as_secs_f64() * 1e3
    }
}

/// One connection.
pub struct Connection {
    sender: SendRequest<Body>,
    host: String,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, host: address.to_string() }
    }

    /// Sends a request and reads the whole response.
    pub async fn send(&mut self, mut request: Request<Body>) -> (StatusCode, Bytes) {
        request.headers_mut().insert("host", self.host.parse().unwrap());
        self.sender.ready().await.unwrap();
        let response = self.sender.send_request(request).await.unwrap();
        let status = response.status();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    }
}

/// A request with an optional token and an optional JSON body.
pub fn request(method: Method, path: &str, token: Option<&str>, body: Option<String>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    request.body(Full::from(body.unwrap_or_default())).unwrap()
}

/// Runs `addresses.len()` clients for `span`. `make` returns a client's next request, given its number and its round.
pub async fn closed_loop(
    addresses: Vec<SocketAddr>,
    span: Duration,
    make: impl Fn(usize, u64) -> Request<Body> + Send + Sync + 'static,
) -> Load {
    paced(addresses, span, Duration::ZERO, make).await
}

/// Like [`closed_loop`], with a pause between the requests of a client, so that the work that follows from one request
/// does not slow down the next.
pub async fn paced(
    addresses: Vec<SocketAddr>,
    span: Duration,
    pause: Duration,
    make: impl Fn(usize, u64) -> Request<Body> + Send + Sync + 'static,
) -> Load {
    let make = Arc::new(make);
    let mut connections = Vec::new();
    for address in addresses {
        connections.push(Connection::open(address).await);
    }
    let counted_from = Instant::now() + WARM_UP;
    let end = counted_from + span;
    let clients = connections.into_iter().enumerate().map(|(client, mut connection)| {
        let make = Arc::clone(&make);
        tokio::spawn(async move {
            let mut micros = Histogram::<u64>::new(3).unwrap();
            let (mut round, mut refused) = (0, 0);
            loop {
                let started = Instant::now();
                if started >= end {
                    return (micros, refused);
                }
                let (status, _) = connection.send(make(client, round)).await;
                let now = Instant::now();
                refused += u64::from(!status.is_success());
                round += 1;
                // A request counts if it ends within the span: those in flight at the start make up for those in flight
                // at the end.
                if now >= counted_from && now <= end {
                    micros.record(u64::try_from((now - started).as_micros()).unwrap().max(1)).unwrap();
                }
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
        })
    });
    let mut all = Histogram::<u64>::new(3).unwrap();
    let mut refused = 0;
    for client in clients.collect::<Vec<_>>() {
        let (micros, unsuccessful) = client.await.unwrap();
        all.add(micros).unwrap();
        refused += unsuccessful;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = all.len() as f64 / span.as_secs_f64();
    Load { rate, micros: all, refused }
}
