//! The hello service: an agent that starts or reconnects gets all its assignments again.
//!
//! The handler creates the backend's consumer on ASSIGNMENTS again, starting with the last message of each subject, and
//! replies with their number. The consumer needs no acknowledgements: an agent that loses its connection says hello
//! again and gets everything again.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use dockhost_domain::ids::BackendId;
use dockhost_domain::reported;
use dockhost_domain::subject::{ALL_HELLOS, Channel};
use dockhost_domain::wire::{Hello, Welcome};
use futures::future::BoxFuture;

use super::agent_limits::AgentMessage;
use super::connect::Broker;
use super::service::{RequestError, RequestHandler};
use crate::broker::streams::ASSIGNMENTS;

/// The broker removes a consumer that was not read for this long; the agent's next hello creates another.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(10 * 60);
/// The longest expiry of one pull request.
const MAX_PULL_EXPIRY: Duration = Duration::from_secs(60);

/// Looks up enrolled backends.
pub trait Enrolments: Send + Sync + 'static {
    /// The most containers that the backend takes; `None` if it is not enrolled.
    fn max_containers(&self, backend: BackendId) -> BoxFuture<'_, Option<u32>>;
}

/// Handles hellos. The stream ASSIGNMENTS must exist.
pub struct HelloHandler {
    /// Where the consumers are created.
    pub broker: Broker,
    /// The enrolled backends.
    pub enrolments: Arc<dyn Enrolments>,
    /// The image of new instances; the agents' default if absent.
    pub image: Option<String>,
}

impl RequestHandler for HelloHandler {
    const MESSAGE: AgentMessage = AgentMessage::Hello;
    const SUBJECT: &'static str = ALL_HELLOS;
    type Response = Welcome;

    fn sender(channel: Channel) -> Option<BackendId> {
        if let Channel::Hello(backend) = channel { Some(backend) } else { None }
    }

    async fn handle(&self, backend: BackendId, body: &[u8]) -> Result<Welcome, RequestError> {
        let _: Hello = reported::parse(body)?;
        let max_containers = self.enrolments.max_containers(backend).await.ok_or(RequestError::UnknownBackend)?;
        let assignments = self.recreate_consumer(backend).await.map_err(RequestError::Unavailable)?;
        let (stream, consumer) = (ASSIGNMENTS.to_owned(), backend.to_string());
        tracing::info!(%backend, assignments, "hello from a backend");
        Ok(Welcome { backend_id: backend, assignments, stream, consumer, max_containers, image: self.image.clone() })
    }
}

impl HelloHandler {
    /// Replaces the backend's consumer; returns the number of assignments that it will deliver.
    async fn recreate_consumer(&self, backend: BackendId) -> Result<u64, async_nats::Error> {
        let jetstream = self.broker.jetstream();
        let name = backend.to_string();
        // Usually fails because there is none; the next step fails for any other reason.
        if let Err(error) = jetstream.delete_consumer_from_stream(&name, ASSIGNMENTS).await {
            tracing::debug!(%backend, %error, "no old consumer removed");
        }
        let config = pull::Config {
            name: Some(name),
            filter_subject: Channel::assignments_of(backend),
            deliver_policy: DeliverPolicy::LastPerSubject,
            ack_policy: AckPolicy::None,
            inactive_threshold: INACTIVE_THRESHOLD,
            max_expires: MAX_PULL_EXPIRY,
            // It can be created again at any time, so it needs neither disk nor replicas.
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = jetstream.create_consumer_on_stream(config, ASSIGNMENTS).await?;
        Ok(consumer.cached_info().num_pending)
    }
}
