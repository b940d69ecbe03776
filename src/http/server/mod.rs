//! Serves the API on a listener, with bounded connections.
//!
//! - [`connection_slots`]: how many connections there may be, in all and per address.
//! - [`tls`]: the certificate, if the API is served over TLS.
//! - [`activity`]: whether a connection has a request in flight. [`timed_stream`]: the time limits of a connection.
//!
//! At shutdown ([`ShutdownStages`]) answers first carry `Connection: close`, so that clients and balancers empty their
//! pools; then the listener closes, idle connections end, and requests in flight are waited for.

mod activity;
mod connection_slots;
mod timed_stream;
mod tls;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use futures::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use self::activity::{ActiveBody, Activity};
use self::connection_slots::{ConnectionSlots, Permit};
use self::timed_stream::TimedStream;
use crate::common::log_throttle::LogThrottle;
use crate::common::shutdown::ShutdownStages;

pub use self::connection_slots::MaxConnections;
pub use self::timed_stream::StreamTimeouts;
pub use self::tls::{Tls, TlsFiles};

/// The first pause after the system refused to accept a connection; it doubles with each failure in a row.
const MIN_ACCEPT_DELAY: Duration = Duration::from_millis(10);
const MAX_ACCEPT_DELAY: Duration = Duration::from_secs(1);
/// What a connection may buffer of its requests and answers, in bytes: more than a head and most answers have.
const MAX_BUFFERED: usize = 64 << 10;
/// What the system may buffer of a connection in each direction, in bytes; Linux takes twice as much for its own records.
///
/// By default, a connection may take megabytes, and some hundred clients that send requests and never read an answer fill
/// what the system has for all connections, those to the broker among them.
const MAX_SYSTEM_BUFFER: usize = 128 << 10;
/// At shutdown, a connection without a request stays open for this long: a request may be on its way.
const IDLE_GRACE: Duration = Duration::from_millis(500);

/// What bounds the connections.
#[derive(Debug, Clone, Default)]
pub struct ConnectionLimits {
    /// How many there may be.
    pub max: MaxConnections,
    /// The addresses without a share of their own.
    pub trusted_proxies: Vec<IpNet>,
    /// How long each step may take.
    pub timeouts: StreamTimeouts,
}

/// Where the API is served.
pub struct Listener {
    /// The socket.
    pub tcp: TcpListener,
    /// The certificate; none for plain HTTP.
    pub tls: Option<Arc<Tls>>,
}

/// What all connections share.
struct Server {
    service: Router,
    tls: Option<TlsAcceptor>,
    timeouts: StreamTimeouts,
    stages: ShutdownStages,
}

/// Serves until `stages.draining`, then returns when the last request in flight has ended.
///
/// # Errors
/// TLS can't be configured.
pub async fn serve(
    listener: Listener,
    service: Router,
    limits: ConnectionLimits,
    stages: ShutdownStages,
) -> Result<(), rustls::Error> {
    let Listener { tcp: listener, tls } = listener;
    if let Err(error) = bound_buffers(&listener) {
        tracing::warn!(%error, "can't bound the buffers of the API's connections");
    }
    let tls = tls.map(|tls| tls.acceptor()).transpose()?;
    let slots = ConnectionSlots::new(limits.max, limits.trusted_proxies);
    let server = Arc::new(Server { service, tls, timeouts: limits.timeouts, stages: stages.clone() });
    let connections = TaskTracker::new();
    let begin = |stream: TcpStream, peer: SocketAddr| {
        if let Some(permit) = slots.admit(peer.ip()) {
            connections.spawn(Arc::clone(&server).connection(stream, peer, permit));
        }
    };
    let mut failures = AcceptFailures::default();
    while let Some(accepted) = stages.draining.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => {
                failures.delay = MIN_ACCEPT_DELAY;
                begin(stream, peer);
            }
            Err(error) => failures.wait(&error).await,
        }
    }
    // What the system has accepted already would be reset.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        begin(stream, peer);
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

/// Accepted connections inherit the bounds.
fn bound_buffers(listener: &TcpListener) -> io::Result<()> {
    sockopt::set_socket_recv_buffer_size(listener, MAX_SYSTEM_BUFFER)?;
    sockopt::set_socket_send_buffer_size(listener, MAX_SYSTEM_BUFFER)?;
    Ok(())
}

impl Server {
    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, permit: Permit) {
        // Answers are small; without this the last packet of one could wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else { return self.requests(stream, peer, permit).await };
        let handshake = tokio::time::timeout(self.timeouts.head, tls.accept(stream));
        match self.stages.draining.run_until_cancelled(handshake).await {
            Some(Ok(Ok(stream))) => self.requests(stream, peer, permit).await,
            Some(Ok(Err(error))) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Some(Err(_)) | None => {}
        }
    }

    /// Answers the requests of one connection.
    async fn requests<S>(&self, stream: S, peer: SocketAddr, permit: Permit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Arc::new(Activity::default());
        let stream = TokioIo::new(TimedStream::new(stream, self.timeouts, Arc::clone(&activity), permit));
        let handler = service_fn(|request| self.answer(request, peer, &activity));
        let connection = http1::Builder::new().max_buf_size(MAX_BUFFERED).serve_connection(stream, handler);
        let mut connection = std::pin::pin!(connection.with_upgrades());
        // An error of a connection is the client's; the requests themselves are logged elsewhere.
        let draining = async {
            self.stages.draining.cancelled().await;
            tokio::time::sleep(IDLE_GRACE).await;
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = draining => {
                if !activity.is_active() {
                    connection.as_mut().graceful_shutdown();
                }
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        activity: &Arc<Activity>,
    ) -> Result<Response<ActiveBody>, Infallible> {
        let active = activity.begin();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let mut response = self.service.clone().oneshot(request).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            activity.upgrade();
        } else if self.stages.announced.is_cancelled() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| ActiveBody::new(body, active)))
    }
}

/// Waits after errors of `accept`, which otherwise fails again at once: the process has no file left, or the system no
/// memory.
struct AcceptFailures {
    delay: Duration,
    log: LogThrottle,
}

impl Default for AcceptFailures {
    fn default() -> Self {
        Self { delay: MIN_ACCEPT_DELAY, log: LogThrottle::per_minute() }
    }
}

impl AcceptFailures {
    async fn wait(&mut self, error: &io::Error) {
        // These concern one connection, which its client gave up.
        let kinds =
            [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset, io::ErrorKind::ConnectionRefused];
        if kinds.contains(&error.kind()) {
            return;
        }
        if let Some(suppressed) = self.log.permit() {
            tracing::error!(%error, suppressed, "can't accept connections; retrying");
        }
        tokio::time::sleep(self.delay).await;
        self.delay = (self.delay * 2).min(MAX_ACCEPT_DELAY);
    }
}

#[cfg(test)]
mod tests;
