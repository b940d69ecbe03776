//! The greeting: an agent that came up or came back is given its assignments, all of them anew.
//!
//! In: a request on `dockhost.hello.<backend>`, and [`Enrolments`], who knows how much room a backend has. Out: a fresh consumer on the backend's
//! assignments that starts with the last of each, and a [`Welcome`] that says how many there are. The consumer asks for
//! no acknowledgements: an agent that loses its connection says hello again and gets everything again.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use dockhost_domain::ids::BackendId;
use dockhost_domain::subject::{ALL_HELLOS, Channel};
use dockhost_domain::wire::Welcome;
use futures::future::BoxFuture;

use super::connect::Broker;
use super::service::{RequestError, RequestHandler};
use crate::broker::streams::ASSIGNMENTS;

/// A consumer that nobody pulls from for this long is removed by the broker; the agent's next hello makes a new one.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(10 * 60);
/// Longest that one pull may wait.
const MAX_PULL_WAIT: Duration = Duration::from_secs(60);

/// Knows the enrolled backends.
pub trait Enrolments: Send + Sync + 'static {
    /// Containers that the backend takes at most; `None` if there is no such backend.
    fn max_containers(&self, backend: BackendId) -> BoxFuture<'_, Option<u32>>;
}

/// Welcomes backends. The stream ASSIGNMENTS must exist.
pub struct HelloHandler {
    /// Where the consumers are made.
    pub broker: Broker,
    /// Who is welcome.
    pub enrolments: Arc<dyn Enrolments>,
}

impl RequestHandler for HelloHandler {
    const SUBJECT: &'static str = ALL_HELLOS;
    type Response = Welcome;

    fn sender(channel: Channel) -> Option<BackendId> {
        if let Channel::Hello(backend) = channel { Some(backend) } else { None }
    }

    // What a hello says of its sender is for people who listen.
    async fn handle(&self, backend: BackendId, _: &[u8]) -> Result<Welcome, RequestError> {
        let max_containers = self.enrolments.max_containers(backend).await.ok_or(RequestError::UnknownBackend)?;
        let assignments = self.recreate_consumer(backend).await.map_err(RequestError::Unavailable)?;
        let (stream, consumer) = (ASSIGNMENTS.to_owned(), backend.to_string());
        tracing::info!(%backend, assignments, "a backend said hello");
        Ok(Welcome { backend_id: backend, assignments, stream, consumer, max_containers })
    }
}

impl HelloHandler {
    /// Puts a fresh consumer in place of the backend's old one; returns how many assignments wait in it.
    async fn recreate_consumer(&self, backend: BackendId) -> Result<u64, async_nats::Error> {
        let jetstream = self.broker.jetstream();
        let name = backend.to_string();
        // An error here is nearly always "there is none"; anything worse shows at the next step.
        if let Err(error) = jetstream.delete_consumer_from_stream(&name, ASSIGNMENTS).await {
            tracing::debug!(%backend, %error, "no old consumer removed");
        }
        let config = pull::Config {
            name: Some(name),
            filter_subject: Channel::assignments_of(backend),
            deliver_policy: DeliverPolicy::LastPerSubject,
            ack_policy: AckPolicy::None,
            inactive_threshold: INACTIVE_THRESHOLD,
            max_expires: MAX_PULL_WAIT,
            // It can be made anew at any time, so it needs neither disk nor copies.
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = jetstream.create_consumer_on_stream(config, ASSIGNMENTS).await?;
        Ok(consumer.cached_info().num_pending)
    }
}
