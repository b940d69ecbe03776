//! The server's side of the broker: its connection, and the door at which backends are let in.
//!
//! In: the broker's URL, this server's keys, and two small ports to the rest of the server (who holds an API key, how
//! much room a backend has). Out: a connection that heals itself, and three services that every replica offers in one
//! queue group. Agents are not trusted: what they may say and hear is decided here, nowhere else.
//!
//! # Layout
//! - [`connect`]: how the server connects and what it does when the broker is away.
//! - [`durability`]: whether the broker's nodes sync each write.
//! - [`jwt`]: the broker's questions and the server's signed answers.
//! - [`callout`]: the service that lets backends in.
//! - [`service`]: what the services for agents have in common.
//! - [`hello`]: the service that gives a backend its assignments.
//! - [`confirm`]: the service that says whether an assignment still stands.

pub mod assignments;
pub mod callout;
pub mod confirm;
pub mod connect;
pub mod consumer;
pub mod durability;
pub mod hello;
pub mod jwt;
pub mod service;
pub mod streams;

/// The code of the conflict below.
pub const CONFLICT_IN_FLIGHT: u64 = async_nats::jetstream::ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT.0;

/// Whether a conditional write was refused because another one to its subject is under way: only on a replicated stream,
/// and to the client an error like any other. It is a conflict whose winner is not known yet.
#[must_use]
pub fn is_conflict_in_flight(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<async_nats::jetstream::Error>())
        .any(|error| error.error_code().0 == CONFLICT_IN_FLIGHT)
}

/// The replicas share the work of each service under this name.
const QUEUE_GROUP: &str = "dockhost";

/// A service could not be offered.
#[derive(Debug, thiserror::Error)]
#[error("the broker does not take the subscription to {subject}")]
pub struct ServeError {
    /// What was to be served.
    pub subject: &'static str,
    /// The client's reason.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Subscribes in the queue group; when this returns, the broker knows of it.
async fn subscribe(broker: &connect::Broker, subject: &'static str) -> Result<async_nats::Subscriber, ServeError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| ServeError { subject, source };
    let client = broker.client();
    let subscriber =
        client.queue_subscribe(subject, QUEUE_GROUP.to_owned()).await.map_err(|error| failed(error.into()))?;
    client.flush().await.map_err(|error| failed(error.into()))?;
    Ok(subscriber)
}
