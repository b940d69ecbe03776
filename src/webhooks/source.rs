//! The port through which the leader reads what a webhook is sent.

use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::webhook::EventFilter;
use tokio::sync::mpsc;

/// What is delivered in order: messages of different lanes may overtake each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// The changes of an instance.
    Instance(InstanceId),
    /// The events of any other aggregate.
    Aggregate(AggregateId),
    /// What can't be read.
    Unreadable,
}

/// A message to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The sequence of its event.
    pub sequence: u64,
    /// In which order it is delivered.
    pub lane: Lane,
    /// The same at each attempt: the id of the event.
    pub message_id: String,
    /// When it happened, if that is known.
    pub happened_at: Option<Timestamp>,
    /// The JSON text.
    pub body: Vec<u8>,
}

/// A part of what a webhook is sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// The messages, in the order of the log.
    pub messages: Vec<Outgoing>,
    /// They are all up to this sequence.
    pub position: u64,
}

/// Reads what webhooks are sent.
pub trait MessageSource: Send + Sync + 'static {
    /// What a user's webhook is sent after a sequence, for ever: what concerns the user, or of everybody what the filter
    /// selects. Failures are retried. Reading ends when the receiver is dropped, and waits while it takes nothing.
    fn read(&self, owner: UserId, filter: Option<EventFilter>, after: u64) -> mpsc::Receiver<Batch>;
}
