//! The log: the stream EVENTS, the system's only source of truth.
//!
//! The port [`EventLog`] has two adapters, [`jetstream`] and `memory` (for tests), which pass the same contract tests.
//! Layers above this folder handle events only, never messages.
//!
//! - [`jetstream`]: the adapter. It uses `publish` and `batch` (one attempt to store), `leader_reads` (reads answered
//!   by the stream's leader), `reader` (the ordered reader) and [`codec`] (an event's form on the wire).
//! - [`barrier`]: proofs that a read is current, on a cluster.
//! - [`durable`]: the durable reader. [`history`]: ranges of the log for the read models.
//! - [`size`]: how full the log is, and its reserve. [`growth`]: what makes it grow.
//! - [`measured`]: measures appends.
//! - [`raw`]: messages as stored, for exports; [`refill`]: fills an empty stream with them.

pub mod barrier;
mod batch;
pub mod codec;
pub mod durable;
pub mod growth;
pub mod history;
pub mod jetstream;
mod leader_reads;
pub mod measured;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
#[cfg(test)]
pub mod memory_node;
mod publish;
pub mod raw;
mod reader;
pub mod refill;
pub mod size;

use std::sync::Arc;

use dockhost_domain::envelope::{Envelope, RecordedEvent};
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::timestamp::Timestamp;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use uuid::Uuid;

use crate::common::error::Cause;

pub use barrier::{Freshness, Proof};

/// One event to store, with the expectation that its decision was based on.
#[derive(Debug, Clone)]
pub struct Append {
    /// The expected last sequence on the aggregate's subject; 0 if it has no event yet.
    pub expected: u64,
    /// The event.
    pub envelope: Envelope,
}

/// Why an append returned no sequence.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another append came first (10071): load, and decide again. Nothing was stored, by no attempt.
    #[error("sequence conflict")]
    Conflict,
    /// Nothing was stored, because an earlier append to the aggregate has no outcome yet (10164): load, and decide again.
    /// That append may belong to an earlier request of the same client.
    #[error("an earlier append to the aggregate has no outcome yet")]
    InFlight,
    /// The log has reached its `max_bytes` (10077): nothing was stored.
    #[error("the log is full")]
    Full,
    /// The broker did not accept it: nothing was stored.
    #[error("the log is unavailable")]
    Unavailable(#[source] Cause),
    /// No final reply in time: it may or may not be stored.
    #[error("the log did not answer in time")]
    Unknown(#[source] Cause),
}

impl AppendError {
    /// Whether another decision on the aggregate's current state may succeed.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict | Self::InFlight)
    }
}

/// Why events could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The broker can't be reached or does not answer.
    #[error("the log is unavailable")]
    Unavailable(#[source] Cause),
    /// The aggregate has an event that this binary cannot read, so it accepts no commands here.
    #[error("the aggregate is frozen at sequence {sequence}")]
    Frozen {
        /// The sequence of the unreadable event.
        sequence: u64,
        /// Why it is unreadable.
        #[source]
        why: Cause,
    },
}

/// The events that a reader selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// All events.
    All,
    /// Those of one kind of aggregate (`account`, `tenancy`, `session`, `backend`, `claim`).
    Kind(&'static str),
    /// Those of one aggregate.
    One(AggregateId),
    /// Those of all aggregates of one user (account, tenancy, sessions, webhooks) or backend.
    Owner(Uuid),
}

impl Filter {
    /// Whether it selects messages on this subject, readable or not.
    #[must_use]
    pub fn selects(self, subject: &str) -> bool {
        match self {
            Self::All => true,
            Self::Kind(kind) => subject
                .strip_prefix("dockhost.event.")
                .is_some_and(|rest| rest.strip_prefix(kind).is_some_and(|rest| rest.starts_with('.'))),
            Self::One(aggregate) => subject == aggregate.to_string(),
            Self::Owner(id) => subject
                .strip_prefix("dockhost.event.")
                .and_then(|rest| rest.split_once('.'))
                .is_some_and(|(_, owner)| owner == id.to_string()),
        }
    }
}

/// What an ordered reader delivers.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// The next event.
    Event(Arc<RecordedEvent>),
    /// No event, but the next message of the log, at this sequence. Only readers of all events get it.
    Barrier(u64),
    /// The next event, which this binary cannot read.
    Unreadable {
        /// Its sequence.
        sequence: u64,
        /// Its subject.
        subject: String,
        /// Why it is unreadable.
        why: String,
    },
    /// All events that were stored when the read began have been delivered. Once per reader, also for an empty log.
    CaughtUp,
    /// Nothing new, as the log has just confirmed.
    Idle,
}

/// The first events of an aggregate.
#[derive(Debug, Clone)]
pub struct FirstPage {
    /// The events, in order.
    pub events: Vec<RecordedEvent>,
    /// Whether there are no more.
    pub complete: bool,
}

/// How much of the log one node has, and how much of it is one aggregate's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The last sequence in the node's copy. A copy is a prefix of the log, so it has everything before, too.
    pub end: u64,
    /// The aggregate's events in the copy: all up to `end`, perhaps some after it.
    pub events: u64,
}

/// The port to the log.
pub trait EventLog: Send + Sync + 'static {
    /// Stores one event; returns its sequence. After a timeout the same event is published again with the same
    /// expectation until a reply is final, and then searched for by its id.
    fn append(&self, entry: Append) -> BoxFuture<'_, Result<u64, AppendError>>;

    /// Stores all or none, in order, at consecutive sequences; returns the last one. At most one event per aggregate.
    fn append_batch(&self, entries: Vec<Append>) -> BoxFuture<'_, Result<u64, AppendError>>;

    /// The aggregate's events after a sequence (0 for all), in order.
    fn load(&self, aggregate: AggregateId, after: u64) -> BoxFuture<'_, Result<Vec<RecordedEvent>, LogError>>;

    /// The aggregate's first few events: for most aggregates, all of them.
    fn load_first(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<FirstPage, LogError>>;

    /// The last sequence on the aggregate's subject, from the stream's leader; 0 if there is none. Current only if the
    /// log has one copy: a leader that was deposed answers until it notices.
    fn last_sequence(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<u64, LogError>>;

    /// Proves that a read that includes everything up to a position is current.
    fn barrier(&self, freshness: Freshness) -> BoxFuture<'_, Result<Proof, LogError>>;

    /// How far one node's copy of the log goes, with the aggregate's number of events in it; `None` if the log has one
    /// copy, so that no answer is of an older one.
    fn extent(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<Option<Extent>, LogError>>;

    /// When the log stored the event at this sequence of this subject, also if it can't be read; `None` if it has none there.
    fn stored_at<'a>(&'a self, subject: &'a str, sequence: u64) -> BoxFuture<'a, Result<Option<Timestamp>, LogError>>;

    /// The last sequence that the filter selects; 0 if there is none. Without a filter it may be a barrier's.
    fn end(&self, filter: Filter) -> BoxFuture<'_, Result<u64, LogError>>;

    /// All events after a sequence, in order and without a gap, for ever. While the broker is away the stream delivers
    /// nothing, not even [`Delivery::Idle`]; afterwards it resumes by itself.
    fn follow(&self, after: u64, filter: Filter) -> BoxStream<'static, Delivery>;

    /// Which log this is.
    fn incarnation(&self) -> &Incarnation;
}
