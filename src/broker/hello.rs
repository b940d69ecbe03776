//! The greeting: an agent that came up or came back is given its assignments, all of them anew.
//!
//! In: a request on `dockhost.hello.<backend>`, whose subject alone says who asks (the broker lets each backend use its
//! own only), and [`Enrolments`], who knows how much room a backend has. Out: a fresh consumer on the backend's
//! assignments that starts with the last of each, and a [`Welcome`] that says how many there are. The consumer asks for
//! no acknowledgements: an agent that loses its connection says hello again and gets everything again.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::{Message, Subscriber};
use dockhost_domain::ids::BackendId;
use dockhost_domain::subject::{ALL_HELLOS, Channel};
use dockhost_domain::wire::Welcome;
use futures::StreamExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::connect::Broker;
use super::{ServeError, subscribe};
use crate::event_log::streams::ASSIGNMENTS;

/// A consumer that nobody pulls from for this long is removed by the broker; the agent's next hello makes a new one.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10 * 60);
/// Longest that one pull may wait.
const LONGEST_PULL: Duration = Duration::from_secs(60);
const AT_ONCE: usize = 16;

/// Knows the enrolled backends.
pub trait Enrolments: Send + Sync + 'static {
    /// Containers that the backend takes at most; `None` if there is no such backend.
    fn max_containers(&self, backend: BackendId) -> BoxFuture<'_, Option<u32>>;
}

/// The service, once the broker knows of it.
pub struct Hello {
    requests: Subscriber,
    greeter: Greeter,
}

struct Greeter {
    broker: Broker,
    enrolments: Arc<dyn Enrolments>,
}

/// Why a backend is not welcomed now.
#[derive(Debug, thiserror::Error)]
enum Unwelcome {
    #[error("no such backend")]
    Unknown,
    #[error("the assignments can't be read now")]
    NoConsumer(#[source] async_nats::Error),
}

impl Unwelcome {
    /// As in HTTP: whether trying again makes sense.
    fn status(&self) -> &'static str {
        match self {
            Self::Unknown => "404",
            Self::NoConsumer(_) => "503",
        }
    }
}

impl Hello {
    /// Subscribes; hellos wait from now on, and are answered by [`Hello::run`]. The stream ASSIGNMENTS must exist.
    ///
    /// # Errors
    /// [`ServeError`], if the broker does not take the subscription.
    pub async fn open(broker: Broker, enrolments: Arc<dyn Enrolments>) -> Result<Self, ServeError> {
        let requests = subscribe(&broker, ALL_HELLOS).await?;
        Ok(Self { requests, greeter: Greeter { broker, enrolments } })
    }

    /// Answers until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let Self { requests, greeter } = self;
        let greeter = &greeter;
        let requests = requests.take_until(stop.cancelled_owned());
        requests.for_each_concurrent(AT_ONCE, |message| greeter.answer(message)).await;
    }
}

impl Greeter {
    async fn answer(&self, message: Message) {
        let (Some(reply), Ok(Channel::Hello(backend))) = (message.reply, message.subject.parse()) else {
            return tracing::warn!(subject = %message.subject, "a hello without a sender or a reply was ignored");
        };
        let client = self.broker.client();
        let answered = match self.welcome(backend).await.map(|welcome| serde_json::to_vec(&welcome)) {
            Ok(Ok(welcome)) => client.publish(reply, welcome.into()).await,
            Ok(Err(error)) => return tracing::error!(%backend, %error, "a welcome could not be written"),
            Err(unwelcome) => {
                tracing::warn!(%backend, error = &unwelcome as &dyn std::error::Error, "a hello was turned down");
                let mut headers = HeaderMap::new();
                headers.insert("Nats-Service-Error", unwelcome.to_string());
                headers.insert("Nats-Service-Error-Code", unwelcome.status());
                client.publish_with_headers(reply, headers, "".into()).await
            }
        };
        if let Err(error) = answered {
            tracing::warn!(%backend, %error, "a hello could not be answered");
        }
    }

    async fn welcome(&self, backend: BackendId) -> Result<Welcome, Unwelcome> {
        let max_containers = self.enrolments.max_containers(backend).await.ok_or(Unwelcome::Unknown)?;
        let assignments = self.renew(backend).await.map_err(Unwelcome::NoConsumer)?;
        let (stream, consumer) = (ASSIGNMENTS.to_owned(), backend.to_string());
        tracing::info!(%backend, assignments, "a backend said hello");
        Ok(Welcome { backend_id: backend, assignments, stream, consumer, max_containers })
    }

    /// Puts a fresh consumer in place of the backend's old one; returns how many assignments wait in it.
    async fn renew(&self, backend: BackendId) -> Result<u64, async_nats::Error> {
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
            inactive_threshold: FORGOTTEN_AFTER,
            max_expires: LONGEST_PULL,
            // It can be made anew at any time, so it needs neither disk nor copies.
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = jetstream.create_consumer_on_stream(config, ASSIGNMENTS).await?;
        Ok(consumer.cached_info().num_pending)
    }
}
