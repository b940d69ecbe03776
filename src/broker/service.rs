//! A service for the agents: questions on one subject per backend, which whichever replica is free answers.
//!
//! In: requests whose subject alone says who asks (the broker lets each backend use its own only), and what knows the
//! answers. Out: a JSON body, or an error in headers, as NATS services answer. Requests wait from the moment when the
//! service is open; each is answered by itself, so a slow one holds up no other.

use async_nats::{HeaderMap, Message, Subscriber};
use dockhost_domain::ids::BackendId;
use dockhost_domain::subject::Channel;
use futures::StreamExt;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::connect::Broker;
use super::{ServeError, subscribe};

const MAX_CONCURRENT_REQUESTS: usize = 16;

/// Knows the answers of one service.
pub trait RequestHandler: Send + Sync + 'static {
    /// The subjects of all its requests.
    const SUBJECT: &'static str;
    /// What is answered.
    type Response: Serialize;

    /// Who asks; none if the request is not one of this service.
    fn sender(channel: Channel) -> Option<BackendId>;

    /// The answer to a request with this body.
    fn handle(
        &self,
        backend: BackendId,
        body: &[u8],
    ) -> impl Future<Output = Result<Self::Response, RequestError>> + Send;
}

/// Why a request is not answered as hoped; the text goes to the agent.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// There is no such backend.
    #[error("no such backend")]
    UnknownBackend,
    /// The body is not what it should be.
    #[error("the body is not what it should be")]
    Malformed(#[source] serde_json::Error),
    /// The broker did not do its part.
    #[error("the assignments can't be read now")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl RequestError {
    /// As in HTTP: whether trying again makes sense.
    const fn status(&self) -> &'static str {
        match self {
            Self::UnknownBackend => "404",
            Self::Malformed(_) => "400",
            Self::Unavailable(_) => "503",
        }
    }
}

/// The service, once the broker knows of it.
pub struct Service<A> {
    broker: Broker,
    requests: Subscriber,
    handler: A,
}

impl<A: RequestHandler> Service<A> {
    /// Subscribes; requests wait from now on, and are answered by [`Service::run`].
    ///
    /// # Errors
    /// [`ServeError`], if the broker does not take the subscription.
    pub async fn open(broker: Broker, handler: A) -> Result<Self, ServeError> {
        let requests = subscribe(&broker, A::SUBJECT).await?;
        Ok(Self { broker, requests, handler })
    }

    /// Answers until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let Self { broker, requests, handler } = self;
        let (broker, handler) = (&broker, &handler);
        let requests = requests.take_until(stop.cancelled_owned());
        requests.for_each_concurrent(MAX_CONCURRENT_REQUESTS, |message| answer(broker, handler, message)).await;
    }
}

async fn answer<A: RequestHandler>(broker: &Broker, handler: &A, message: Message) {
    let backend = message.subject.parse().ok().and_then(A::sender);
    let (Some(reply), Some(backend)) = (message.reply, backend) else {
        return tracing::warn!(subject = %message.subject, "a request without a sender or a reply was ignored");
    };
    let client = broker.client();
    let subject = message.subject;
    let answered = match handler.handle(backend, &message.payload).await.map(|answer| serde_json::to_vec(&answer)) {
        Ok(Ok(answer)) => client.publish(reply, answer.into()).await,
        Ok(Err(error)) => return tracing::error!(%subject, %error, "an answer could not be written"),
        Err(error) => {
            tracing::warn!(%subject, error = &error as &dyn std::error::Error, "a request was turned down");
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Service-Error", error.to_string());
            headers.insert("Nats-Service-Error-Code", error.status());
            client.publish_with_headers(reply, headers, "".into()).await
        }
    };
    if let Err(error) = answered {
        tracing::warn!(%subject, %error, "a request could not be answered");
    }
}
