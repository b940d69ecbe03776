//! The auth callout: authenticates every connection to the broker that does not use one of its two fixed keys.
//!
//! The broker sends authorization requests to one of the replicas; the reply is a user JWT for the backend of the given
//! API key, or a refusal. A request without a reply in time fails closed in the broker. Established connections are not
//! affected. Tokens are never logged.
//!
//! Refusals beyond a few per second are held back for a while: a client that connects again at once costs the broker and
//! a replica as much as a flood of messages does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{Message, Subscriber};
use dockhost_domain::ids::BackendId;
use dockhost_domain::timestamp::Timestamp;
use futures::StreamExt;
use futures::future::BoxFuture;
use secrecy::ExposeSecret;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::agent_gate::AgentGate;
use super::connect::Broker;
use super::jwt::{AuthRequest, MAX_LIFETIME, SignError, Signer};
use super::{ServeError, subscribe};
use crate::common::clock;
use crate::common::quota::Quota;

const AUTH_REQUEST_SUBJECT: &str = "$SYS.REQ.USER.AUTH";
/// Requests that this process handles at once; further ones wait.
const MAX_CONCURRENT_REQUESTS: usize = 64;
/// Refusals that this replica sends at once: somebody who mistyped a key need not wait.
const PROMPT_REFUSALS: Quota = Quota { count: 20, window: Duration::from_secs(5) };
/// How long a further refusal is held back. The broker waits 3 s for the reply (`authorization.timeout` in `nats.conf`). Measured
/// with one connection after the other of one refused client: 1,000 attempts per second without the delay, which took
/// half of one processor in the broker and a fifth in the servers.
const REFUSAL_DELAY: Duration = Duration::from_secs(1);
/// Refusals that are held back at once; further ones are sent at once. Each is about 1 KB.
const MAX_HELD_REFUSALS: usize = 1024;

/// Authenticates backends by their API keys.
pub trait BackendAuthenticator: Send + Sync + 'static {
    /// The backend of this key, if the key is valid now.
    fn authenticate(&self, api_key: String) -> BoxFuture<'_, Option<AuthenticatedBackend>>;
}

/// A backend with a valid key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthenticatedBackend {
    /// The backend.
    pub id: BackendId,
    /// When the key's validity ends, if that is known.
    pub until: Option<Timestamp>,
}

/// The callout service, whose subscription the broker has registered.
pub struct Callout {
    requests: Subscriber,
    responder: Responder,
}

struct Responder {
    broker: Broker,
    signer: Arc<Signer>,
    authenticator: Arc<dyn BackendAuthenticator>,
    gate: Arc<AgentGate>,
    lifetime: Duration,
    working: Semaphore,
    held: Semaphore,
    prompt: PromptRefusals,
}

/// Which refusals are sent at once.
struct PromptRefusals {
    epoch: Instant,
    /// When the bucket of [`PROMPT_REFUSALS`] is full again, from `epoch` on.
    full_at: Mutex<Duration>,
}

impl PromptRefusals {
    fn new() -> Self {
        Self { epoch: Instant::now(), full_at: Mutex::default() }
    }

    /// Whether the next refusal is one of them.
    fn take(&self) -> bool {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let (after, decision) = PROMPT_REFUSALS.take(*full_at, self.epoch.elapsed());
        *full_at = after;
        decision.retry_after.is_none()
    }
}

/// A signed response.
enum Response {
    Allowed(String),
    Refused(String),
}

impl Callout {
    /// Subscribes. Requests queue from now on, until [`Callout::run`] handles them.
    ///
    /// # Errors
    /// [`ServeError`], if the broker does not accept the subscription.
    pub async fn open(
        broker: Broker,
        signer: Arc<Signer>,
        authenticator: Arc<dyn BackendAuthenticator>,
        gate: Arc<AgentGate>,
    ) -> Result<Self, ServeError> {
        let requests = subscribe(&broker, AUTH_REQUEST_SUBJECT).await?;
        let (working, held) = (Semaphore::new(MAX_CONCURRENT_REQUESTS), Semaphore::new(MAX_HELD_REFUSALS));
        let (lifetime, prompt) = (MAX_LIFETIME, PromptRefusals::new());
        let responder = Responder { broker, signer, authenticator, gate, lifetime, working, held, prompt };
        Ok(Self { requests, responder })
    }

    /// Limits connections to this lifetime instead of [`MAX_LIFETIME`], which it can't exceed.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.responder.lifetime = lifetime;
        self
    }

    /// Handles requests until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let Self { requests, responder } = self;
        let responder = &responder;
        requests
            .take_until(stop.cancelled_owned())
            .for_each_concurrent(MAX_CONCURRENT_REQUESTS + MAX_HELD_REFUSALS, |message| responder.answer(message))
            .await;
    }
}

impl Responder {
    async fn answer(&self, message: Message) {
        let Some(reply) = message.reply else { return };
        let request = match AuthRequest::read(&message.payload) {
            Ok(request) => request,
            Err(error) => return tracing::warn!(%error, "invalid authorization request ignored"),
        };
        let working = self.working.acquire().await;
        let response = self.respond_to(&request).await;
        drop(working);
        match response {
            Ok(response) => {
                let response = match response {
                    Response::Allowed(response) => response,
                    Response::Refused(response) => {
                        if !self.prompt.take()
                            && let Ok(_held) = self.held.try_acquire()
                        {
                            tokio::time::sleep(REFUSAL_DELAY).await;
                        }
                        response
                    }
                };
                if let Err(error) = self.broker.client().publish(reply, response.into()).await {
                    tracing::warn!(%error, "authorization response not sent");
                }
            }
            Err(error) => tracing::error!(%error, "authorization response not signed"),
        }
    }

    async fn respond_to(&self, request: &AuthRequest) -> Result<Response, SignError> {
        let now = clock::now();
        if request.token.as_ref().is_some_and(|token| self.signer.made_check_token(token.expose_secret(), now)) {
            return self.signer.allow_check(request, now).map(Response::Allowed);
        }
        let backend = match &request.token {
            Some(token) => self.authenticator.authenticate(token.expose_secret().to_owned()).await,
            None => None,
        };
        let address = &request.address;
        if let Some(AuthenticatedBackend { id: backend, .. }) =
            backend.filter(|backend| self.gate.is_refused(backend.id))
        {
            tracing::debug!(%backend, address, "connection refused: the backend floods");
            self.signer.deny(request, "the backend floods", clock::now()).map(Response::Refused)
        } else if let Some(AuthenticatedBackend { id: backend, until }) = backend {
            tracing::info!(%backend, address, "backend authenticated");
            // Jitter: backends that connected together, after a restart of the broker, don't all reconnect together.
            let lifetime = self.lifetime.mul_f64(rand::random_range(0.8..=1.0));
            let now = clock::now();
            // The broker closes the connection when the key's validity ends.
            let lifetime = until.map_or(lifetime, |until| lifetime.min(until.since(now)));
            self.signer.allow(request, backend, now, lifetime).map(Response::Allowed)
        } else {
            // Servers connect without a key at their start, to see that this is refused.
            match request.token {
                Some(_) => tracing::warn!(address, "connection refused: no valid API key"),
                None => tracing::info!(address, "connection refused: it gave no API key"),
            }
            self.signer.deny(request, "no valid API key", clock::now()).map(Response::Refused)
        }
    }
}
