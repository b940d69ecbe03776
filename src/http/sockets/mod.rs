//! Socket.IO: the event streams for clients that speak it, over WebSocket or long polling, on the port of the API; and, if
//! that is switched on, backends that speak it.
//!
//! - `connect`: who may connect. `updates`: what a connected client is sent. `backends`: the backends.
//! - `session_id`: the replica's name in the ids of its polling sessions. `handover`: requests of a session that arrive at
//!   another replica are handed to the one that has it.
//!
//! Messages of clients but backends are ignored: commands are requests of the API.

mod backends;
mod connect;
mod handover;
mod session_id;
mod updates;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_nats::SubscribeError;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::ConnectHandler;
use socketioxide::{SocketIo, SocketIoBuilder};
use tokio_util::sync::CancellationToken;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt, service_fn};

use self::backends::Backends;
use self::connect::Credentials;
use self::handover::Peers;
use self::session_id::{Owner, SessionId};
use super::app::App;
use super::extract::origin;
use super::response::{ApiError, Code};

/// The path that clients of Socket.IO use by default.
pub const PATH: &str = "/socket.io/";
/// How often a connection is checked, and how long its client may take to answer.
const PING_INTERVAL: Duration = Duration::from_secs(25);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// The most that a client may send at once, in bytes.
const MAX_RECEIVED: usize = 16 << 10;
/// The most that is sent at once to a client that polls, in bytes.
const MAX_SENT: u64 = 100_000;
/// Messages that may wait for a client here; what waits longer waits in its event stream.
const MAX_WAITING: usize = 64;

/// Answers the requests of the sessions that this replica has.
type Protocol = BoxCloneSyncService<Request, Response, Infallible>;

/// The servers of Socket.IO behind the one path.
#[derive(Clone)]
struct Protocols {
    clients: Protocol,
    /// None if it is switched off: then a backend is a client without a session.
    backends: Option<Backends>,
}

impl Protocols {
    /// The one that a request with this query is for.
    fn of(&self, query: &str) -> &Protocol {
        self.backends_in(query).map_or(&self.clients, Backends::protocol)
    }

    fn backends_in(&self, query: &str) -> Option<&Backends> {
        self.backends.as_ref().filter(|_| Backends::are_meant(query))
    }
}

/// The Socket.IO server of one replica.
#[derive(Clone)]
pub struct Sockets {
    app: Arc<App>,
    io: SocketIo,
    protocols: Protocols,
    owner: Owner,
    peers: Option<Peers>,
}

impl Sockets {
    /// The server of the replica with this name. Without a connection to the broker (`client`), requests of other replicas'
    /// sessions are refused.
    pub fn new(app: &Arc<App>, replica: &str, client: Option<async_nats::Client>) -> Self {
        let builder = limited(SocketIo::builder()).ping_interval(PING_INTERVAL).ping_timeout(PING_TIMEOUT);
        let (service, io) = builder.build_svc();
        let (of_check, of_handler) = (Arc::clone(app), Arc::clone(app));
        let check = move |socket: SocketRef, credentials: TryData<Credentials>| {
            let app = Arc::clone(&of_check);
            async move { connect::authenticate(&app, &socket, credentials).await }
        };
        let handler = move |socket: SocketRef| {
            let app = Arc::clone(&of_handler);
            async move { updates::send(&app, socket).await }
        };
        io.ns("/", handler.with(check));
        let backends = app.settings.socketio_backends.clone().map(|broker| Backends::new(app, broker));
        Self {
            app: Arc::clone(app),
            io,
            protocols: Protocols { clients: protocol(service), backends },
            owner: Owner::named(replica),
            peers: client.map(Peers::new),
        }
    }

    /// The path of Socket.IO.
    pub fn routes(&self) -> Router<Arc<App>> {
        let sockets = self.clone();
        Router::new().route(
            PATH,
            any(move |request: Request| {
                let sockets = sockets.clone();
                async move { sockets.answer(request).await.unwrap_or_else(IntoResponse::into_response) }
            }),
        )
    }

    /// Answers requests that other replicas hand over, until cancelled. At shutdown it closes the connections, so that
    /// clients connect to another replica.
    ///
    /// # Errors
    /// The subscription could not be made.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), SubscribeError> {
        let draining = self.app.stages.draining.clone();
        let serve = async {
            match &self.peers {
                Some(peers) => peers.serve(&self.owner, &self.protocols).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            served = serve => served,
            () = cancel.cancelled() => Ok(()),
            () = draining.cancelled() => {
                self.io.close().await;
                if let Some(backends) = &self.protocols.backends {
                    backends.close().await;
                }
                cancel.cancelled().await;
                Ok(())
            }
        }
    }

    async fn answer(&self, request: Request) -> Result<Response, ApiError> {
        // WebSockets know no CORS, and browsers add the cookie to each.
        if !origin::is_own(request.uri(), request.headers(), &self.app.settings.frontends) {
            let message = "a page of another origin sent this; see FRONTEND_URL";
            return Err(ApiError::new(Code::ForeignOrigin, message));
        }
        match SessionId::of(request.uri().query().unwrap_or_default()) {
            None => self.begin(request).await,
            Some(id) if id.owner == self.owner => Ok(self.serve(without_owner(request, &id)?).await),
            // A client whose upgrade fails goes on polling.
            Some(_) if is_upgrade(request.headers()) => Ok(unknown_session()),
            Some(id) => self.hand_over(request, &id).await,
        }
    }

    async fn serve(&self, request: Request) -> Response {
        let protocol = self.protocols.of(request.uri().query().unwrap_or_default());
        let Ok(response) = protocol.clone().oneshot(request).await;
        response
    }

    /// Begins a session. A client that polls is told this replica's name with its id.
    async fn begin(&self, request: Request) -> Result<Response, ApiError> {
        if let Some(backends) = self.protocols.backends_in(request.uri().query().unwrap_or_default()) {
            backends.admit()?;
        }
        let is_upgrade = is_upgrade(request.headers());
        let (mut parts, body) = self.serve(request).await.into_parts();
        if is_upgrade || parts.status != StatusCode::OK {
            return Ok(Response::from_parts(parts, body));
        }
        let sent = usize::try_from(MAX_SENT).unwrap_or(usize::MAX);
        let body = to_bytes(body, sent).await.map_err(|error| ApiError::internal(&error))?;
        let Some(named) = std::str::from_utf8(&body).ok().and_then(|packet| self.owner.name_in(packet)) else {
            return Err(ApiError::bug("a session of Socket.IO begins without an id"));
        };
        parts.headers.remove(header::CONTENT_LENGTH);
        Ok(Response::from_parts(parts, Body::from(named)))
    }

    async fn hand_over(&self, request: Request, id: &SessionId) -> Result<Response, ApiError> {
        let Some(peers) = &self.peers else { return Ok(unknown_session()) };
        let (parts, body) = request.into_parts();
        let too_large = |_| ApiError::new(Code::BodyTooLarge, "a message of a client has at most 16 KiB");
        let body = to_bytes(body, MAX_RECEIVED).await.map_err(too_large)?;
        Ok(peers.hand_over(&parts, body, id).await.unwrap_or_else(unknown_session))
    }
}

/// With the limits that every server of Socket.IO here has.
fn limited(builder: SocketIoBuilder) -> SocketIoBuilder {
    let builder = builder.max_payload(MAX_SENT).max_buffer_size(MAX_WAITING);
    builder.ws_max_message_size(MAX_RECEIVED).ws_max_frame_size(MAX_RECEIVED)
}

/// A server of Socket.IO as the router takes it.
fn protocol<S>(service: S) -> Protocol
where
    S: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    BoxCloneSyncService::new(service_fn(move |request: Request| {
        let answer = service.clone().oneshot(request);
        async move { answer.await.map(IntoResponse::into_response) }
    }))
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
}

/// The request as the replica that began the session expects it.
fn without_owner(request: Request, id: &SessionId) -> Result<Request, ApiError> {
    let (mut parts, body) = request.into_parts();
    let uri = format!("{PATH}?{}", id.query);
    parts.uri = uri.parse::<Uri>().map_err(|error| ApiError::internal(&error))?;
    Ok(Request::from_parts(parts, body))
}

/// The protocol's own answer, upon which a client connects again.
fn unknown_session() -> Response {
    let body = r#"{"code":1,"message":"Session ID unknown"}"#;
    (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests;
