//! The responder: whoever connects to the broker without one of its two fixed keys is let in here, or not at all.
//!
//! In: the broker's authorization requests, shared out among the replicas, and a [`BackendAuthenticator`] who knows API keys.
//! Out: a user JWT for the backend that the key belongs to, or a refusal. A request that is not answered in time fails
//! closed in the broker; connections that stand are not touched. Tokens are never logged.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use dockhost_domain::ids::BackendId;
use futures::StreamExt;
use futures::future::BoxFuture;
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use super::connect::Broker;
use super::jwt::{AuthRequest, MAX_LIFETIME, SignError, Signer};
use super::{ServeError, subscribe};
use crate::common::clock;

const AUTH_REQUEST_SUBJECT: &str = "$SYS.REQ.USER.AUTH";
/// Requests in the works at once in this process; the rest of a storm waits in the subscription.
const MAX_CONCURRENT_REQUESTS: usize = 64;

/// Knows whose an API key is.
pub trait BackendAuthenticator: Send + Sync + 'static {
    /// The backend that this key belongs to, if the key is good now.
    fn authenticate(&self, api_key: String) -> BoxFuture<'_, Option<BackendId>>;
}

/// The service, once the broker knows of it.
pub struct Callout {
    requests: Subscriber,
    responder: Responder,
}

struct Responder {
    broker: Broker,
    signer: Signer,
    authenticator: Arc<dyn BackendAuthenticator>,
    lifetime: Duration,
}

impl Callout {
    /// Subscribes; requests wait from now on, and are answered by [`Callout::run`].
    ///
    /// # Errors
    /// [`ServeError`], if the broker does not take the subscription.
    pub async fn open(
        broker: Broker,
        signer: Signer,
        authenticator: Arc<dyn BackendAuthenticator>,
    ) -> Result<Self, ServeError> {
        let requests = subscribe(&broker, AUTH_REQUEST_SUBJECT).await?;
        Ok(Self { requests, responder: Responder { broker, signer, authenticator, lifetime: MAX_LIFETIME } })
    }

    /// Lets backends in for this long instead of [`MAX_LIFETIME`], which it can't exceed.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.responder.lifetime = lifetime;
        self
    }

    /// Answers until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let Self { requests, responder } = self;
        let responder = &responder;
        requests
            .take_until(stop.cancelled_owned())
            .for_each_concurrent(MAX_CONCURRENT_REQUESTS, |message| responder.answer(message))
            .await;
    }
}

impl Responder {
    async fn answer(&self, message: Message) {
        let Some(reply) = message.reply else { return };
        let request = match AuthRequest::read(&message.payload) {
            Ok(request) => request,
            Err(error) => return tracing::warn!(%error, "an authorization request was ignored"),
        };
        match self.respond_to(&request).await {
            Ok(answer) => {
                if let Err(error) = self.broker.client().publish(reply, answer.into()).await {
                    tracing::warn!(%error, "an authorization request could not be answered");
                }
            }
            Err(error) => tracing::error!(%error, "an authorization request could not be answered"),
        }
    }

    async fn respond_to(&self, request: &AuthRequest) -> Result<String, SignError> {
        let backend = match &request.token {
            Some(token) => self.authenticator.authenticate(token.expose_secret().to_owned()).await,
            None => None,
        };
        let address = &request.address;
        if let Some(backend) = backend {
            tracing::info!(%backend, address, "a backend is let in");
            // Backends that came together, after a restart of the broker, should not all come back together.
            let lifetime = self.lifetime.mul_f64(rand::random_range(0.8..=1.0));
            self.signer.allow(request, backend, clock::now(), lifetime)
        } else {
            tracing::warn!(address, "a connection is refused: no good API key");
            self.signer.deny(request, "no good API key", clock::now())
        }
    }
}
