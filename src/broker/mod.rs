//! The server's side of the broker: its connection, the streams, consumers, and the services for agents.
//!
//! Every replica offers the services in one queue group. Agents are not trusted: what they may publish and subscribe to
//! is decided here and nowhere else.
//!
//! - [`connect`]: the connection. [`nodes`], [`node_watch`]: which node it uses, and when it leaves one. [`durability`]:
//!   whether the broker's nodes sync each write. [`store_room`]: how full they are. [`system_account`]: asks them.
//! - [`clock_check`]: whether this machine's clock is the broker's.
//! - [`streams`]: the streams and buckets. [`consumer`]: how they are read. [`write_proof`], [`write_probe`]: when
//!   the broker last stored.
//! - [`callout`], [`jwt`]: authentication of backends; [`access`]: whether the broker does what they say. [`service`]: what
//!   the services for agents have in common.
//! - [`agent_limits`], [`agent_gate`], [`flood_guard`]: how much each backend may send, and what happens beyond it.
//! - [`dropped`]: what agents sent in vain: nobody could read it, or another agent holds the backend ([`key_holder`],
//!   [`holders`]).
//! - [`hello`]: the service that agents greet; `confirm`, which needs the log, is in `replica`. [`assignments`]: the stream
//!   that both serve. [`deliveries`], [`delivery_watch`]: whether its messages reach the agents.

pub mod access;
pub mod agent_gate;
pub mod agent_limits;
pub mod assignments;
pub mod callout;
pub mod clock_check;
pub mod connect;
pub mod consumer;
pub mod deliveries;
pub mod delivery_watch;
pub mod dropped;
pub mod durability;
pub mod flood_guard;
pub mod hello;
pub mod holders;
pub mod jwt;
pub mod key_holder;
pub mod kick;
pub mod node_watch;
pub mod nodes;
pub mod requirements;
pub mod service;
pub mod store_room;
pub mod streams;
pub mod system_account;
pub mod write_probe;
pub mod write_proof;

use crate::common::error::Cause;

/// The error code of [`is_conflict_in_flight`].
pub const CONFLICT_IN_FLIGHT: u64 = async_nats::jetstream::ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT.0;

/// Whether a conditional write was refused because another write to its subject is under way: a conflict whose winner
/// is not decided yet. Only a replicated stream answers so, and the client reports it like any other error.
#[must_use]
pub fn is_conflict_in_flight(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<async_nats::jetstream::Error>())
        .any(|error| error.error_code().0 == CONFLICT_IN_FLIGHT)
}

/// The queue group in which the replicas share the requests to each service.
const QUEUE_GROUP: &str = "dockhost";

/// A service could not be offered.
#[derive(Debug, thiserror::Error)]
#[error("the broker does not accept the subscription to {subject}")]
pub struct ServeError {
    /// The service's subject.
    pub subject: &'static str,
    /// The client's error.
    #[source]
    pub source: Cause,
}

/// Subscribes in the queue group; when this returns, the broker has registered the subscription.
async fn subscribe(broker: &connect::Broker, subject: &'static str) -> Result<async_nats::Subscriber, ServeError> {
    let failed = |source: Cause| ServeError { subject, source };
    let client = broker.client();
    let subscriber =
        client.queue_subscribe(subject, QUEUE_GROUP.to_owned()).await.map_err(|error| failed(error.into()))?;
    client.flush().await.map_err(|error| failed(error.into()))?;
    Ok(subscriber)
}
