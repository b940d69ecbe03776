//! A request-reply service for agents: one subject per backend, answered by any replica.
//!
//! The broker lets each backend publish to its own subject only, so the subject identifies the sender. The reply is a
//! JSON body, or an error in the headers of NATS services. Requests are handled concurrently.

use std::sync::Arc;

use async_nats::{HeaderMap, Message, Subject, Subscriber};
use dockhost_domain::ids::BackendId;
use dockhost_domain::reported::Malformed;
use dockhost_domain::subject::Channel;
use futures::StreamExt;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::agent_gate::AgentGate;
use super::agent_limits::AgentMessage;
use super::connect::Broker;
use super::dropped::{MessageKind, OtherAgent};
use super::key_holder::OtherHolder;
use super::{ServeError, subscribe};
use crate::common::error::{Cause, chain};

const MAX_CONCURRENT_REQUESTS: usize = 16;

/// Handles the requests of one service.
pub trait RequestHandler: Send + Sync + 'static {
    /// What is limited for each backend.
    const MESSAGE: AgentMessage;
    /// The subjects of all its requests.
    const SUBJECT: &'static str;
    /// The body of a successful reply.
    type Response: Serialize;

    /// The backend that sent a request; `None` if the channel is not this service's.
    fn sender(channel: Channel) -> Option<BackendId>;

    /// Handles a request with this body.
    fn handle(
        &self,
        backend: BackendId,
        body: &[u8],
    ) -> impl Future<Output = Result<Self::Response, RequestError>> + Send;
}

/// Why a request failed; the agent gets the text.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// There is no such backend.
    #[error("no such backend")]
    UnknownBackend,
    /// The body is malformed.
    #[error("the body is malformed")]
    Malformed(#[from] Malformed),
    /// The hello names no run of an agent, so it can't be told apart from another agent's.
    #[error("the hello has no member `agentRun`; update the agent")]
    NoAgentRun,
    /// Another agent holds the backend.
    #[error(
        "another agent with the same API key is {}; stop one of the two, or register this machine as a backend of its own",
        .0.map_or_else(|| "connected".to_owned(), |other| other.to_string())
    )]
    OtherAgent(Option<OtherHolder>),
    /// The broker did not answer.
    #[error("the assignments can't be read now")]
    Unavailable(#[source] Cause),
}

impl RequestError {
    /// The equivalent HTTP status.
    const fn status(&self) -> &'static str {
        match self {
            Self::UnknownBackend => "404",
            Self::Malformed(_) | Self::NoAgentRun => "400",
            Self::OtherAgent(_) => "409",
            Self::Unavailable(_) => "503",
        }
    }
}

/// A service whose subscription the broker has registered.
pub struct Service<H> {
    broker: Broker,
    requests: Subscriber,
    handler: H,
    gate: Arc<AgentGate>,
}

impl<H: RequestHandler> Service<H> {
    /// Subscribes. Requests queue from now on, until [`Service::run`] handles them.
    ///
    /// # Errors
    /// [`ServeError`], if the broker does not accept the subscription.
    pub async fn open(broker: Broker, handler: H, gate: Arc<AgentGate>) -> Result<Self, ServeError> {
        let requests = subscribe(&broker, H::SUBJECT).await?;
        Ok(Self { broker, requests, handler, gate })
    }

    /// Handles requests until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let Self { broker, requests, handler, gate } = self;
        let (broker, handler) = (&broker, &handler);
        // What the gate refuses waits for no slot.
        let accepted = requests.take_until(stop.cancelled_owned()).filter_map(|message| {
            let request = accept::<H>(message, &gate);
            std::future::ready(request)
        });
        let answer = |(backend, reply, message)| answer((broker, handler, &*gate), backend, reply, message);
        accepted.for_each_concurrent(MAX_CONCURRENT_REQUESTS, answer).await;
    }
}

/// The sender, the reply subject and the message, if the backend may send it now.
fn accept<H: RequestHandler>(mut message: Message, gate: &AgentGate) -> Option<(BackendId, Subject, Message)> {
    let backend = message.subject.parse().ok().and_then(H::sender)?;
    let accepted = gate.accepts(backend, H::MESSAGE);
    // Without a reply subject nobody asks.
    let reply = message.reply.take()?;
    accepted.then_some((backend, reply, message))
}

async fn answer<H: RequestHandler>(
    (broker, handler, gate): (&Broker, &H, &AgentGate),
    backend: BackendId,
    reply: Subject,
    message: Message,
) {
    let client = broker.client();
    let subject = message.subject;
    let sent = match handler.handle(backend, &message.payload).await.map(|response| serde_json::to_vec(&response)) {
        Ok(Ok(body)) => client.publish(reply, body.into()).await,
        Ok(Err(error)) => return tracing::error!(%subject, %error, "a reply cannot be serialised"),
        Err(error) => {
            match &error {
                RequestError::Malformed(malformed) => {
                    gate.malformed().record(backend, MessageKind::Request, *malformed);
                }
                RequestError::OtherAgent(_) => {
                    gate.of_other_agents().record(backend, MessageKind::Request, OtherAgent);
                }
                error => tracing::warn!(%backend, error = chain(error), "request failed"),
            }
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Service-Error", error.to_string());
            headers.insert("Nats-Service-Error-Code", error.status());
            client.publish_with_headers(reply, headers, "".into()).await
        }
    };
    if let Err(error) = sent {
        tracing::warn!(%subject, %error, "reply not sent");
    }
}
