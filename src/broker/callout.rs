//! The door: whoever connects to the broker without one of its two fixed keys is let in here, or not at all.
//!
//! In: the broker's authorization requests, shared out among the replicas, and a [`Doorkeeper`] who knows API keys.
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
use super::jwt::{AuthRequest, LONGEST, SignError, Signer};
use super::{ServeError, subscribe};
use crate::common::clock;

const SUBJECT: &str = "$SYS.REQ.USER.AUTH";
/// Requests in the works at once in this process; the rest of a storm waits in the subscription.
const AT_ONCE: usize = 64;

/// Knows whose an API key is.
pub trait Doorkeeper: Send + Sync + 'static {
    /// The backend that this key belongs to, if the key is good now.
    fn admit(&self, api_key: String) -> BoxFuture<'_, Option<BackendId>>;
}

/// The service, once the broker knows of it.
pub struct Callout {
    requests: Subscriber,
    door: Door,
}

struct Door {
    broker: Broker,
    signer: Signer,
    keeper: Arc<dyn Doorkeeper>,
    lifetime: Duration,
}

impl Callout {
    /// Subscribes; requests wait from now on, and are answered by [`Callout::run`].
    ///
    /// # Errors
    /// [`ServeError`], if the broker does not take the subscription.
    pub async fn open(broker: Broker, signer: Signer, keeper: Arc<dyn Doorkeeper>) -> Result<Self, ServeError> {
        let requests = subscribe(&broker, SUBJECT).await?;
        Ok(Self { requests, door: Door { broker, signer, keeper, lifetime: LONGEST } })
    }

    /// Lets backends in for this long instead of [`LONGEST`], which it can't exceed.
    #[must_use]
    pub fn for_at_most(mut self, lifetime: Duration) -> Self {
        self.door.lifetime = lifetime;
        self
    }

    /// Answers until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let Self { requests, door } = self;
        let door = &door;
        requests.take_until(stop.cancelled_owned()).for_each_concurrent(AT_ONCE, |message| door.answer(message)).await;
    }
}

impl Door {
    async fn answer(&self, message: Message) {
        let Some(reply) = message.reply else { return };
        let request = match AuthRequest::read(&message.payload) {
            Ok(request) => request,
            Err(error) => return tracing::warn!(%error, "an authorization request was ignored"),
        };
        match self.judge(&request).await {
            Ok(answer) => {
                if let Err(error) = self.broker.client().publish(reply, answer.into()).await {
                    tracing::warn!(%error, "an authorization request could not be answered");
                }
            }
            Err(error) => tracing::error!(%error, "an authorization request could not be answered"),
        }
    }

    async fn judge(&self, request: &AuthRequest) -> Result<String, SignError> {
        let admitted = match &request.token {
            Some(token) => self.keeper.admit(token.expose_secret().to_owned()).await,
            None => None,
        };
        let address = &request.address;
        if let Some(backend) = admitted {
            tracing::info!(%backend, address, "a backend is let in");
            // Backends that came together, after a restart of the broker, should not all come back together.
            let lifetime = self.lifetime.mul_f64(rand::random_range(0.8..=1.0));
            self.signer.admit(request, backend, clock::now(), lifetime)
        } else {
            tracing::warn!(address, "a connection is refused: no good API key");
            self.signer.refuse(request, "no good API key", clock::now())
        }
    }
}
