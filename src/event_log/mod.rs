//! The log: the stream EVENTS, which alone is the truth.
//!
//! In: envelopes with the sequence that their subject is expected to end at. Out: the sequence of what was stored, a
//! conflict, or "unknown"; and recorded events in order. The port [`EventLog`] has two adapters, JetStream and memory,
//! that pass one contract suite. Everything above this folder speaks of events only, never of messages.
//!
//! - [`streams`]: the broker's streams, made and checked. [`codec`]: the form of an event on the wire.
//! - [`jetstream`]: the adapter, over `publish` and `batch` (one attempt and what its answer means), `read` (asked of
//!   the stream's leader), `pull` (a consumer read by hand), `follow` (the ordered reader), [`durable`] (the named one).
//! - [`raw`]: the messages as they are stored, unread; [`refill`]: an empty stream filled with them again.
//! - [`memory`]: the same in memory, with faults to order. [`past`]: ranges of the log, for the read models;
//!   [`shared`]: one reading for several of them.

mod batch;
pub mod codec;
pub mod durable;
pub mod history;
pub mod jetstream;
mod leader_reads;
pub mod memory;
mod publish;
pub mod raw;
mod reader;
pub mod refill;
pub mod shared_scan;

use crate::common::error::Cause;

use std::sync::Arc;

use dockhost_domain::envelope::{Envelope, RecordedEvent};
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::AggregateId;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// One event to be stored if its subject ends where the decision thought it does.
#[derive(Debug, Clone)]
pub struct Append {
    /// The last sequence on the aggregate's literal subject; 0 if it has no event yet.
    pub expected: u64,
    /// What to store.
    pub envelope: Envelope,
}

/// Why an append did not come back with a sequence.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended first (10071, 10164): load, decide again.
    #[error("the aggregate has moved on")]
    Conflict,
    /// The log is at its `max_bytes` (10077): nothing was stored.
    #[error("the log is full")]
    Full,
    /// The broker did not take it: nothing was stored.
    #[error("the log is unavailable")]
    Unavailable(#[source] Cause),
    /// No answer, and none could be found out in time: it may or may not be stored.
    #[error("the log did not answer in time")]
    Unknown(#[source] Cause),
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The broker can't be reached or does not answer.
    #[error("the log is unavailable")]
    Unavailable(#[source] Cause),
    /// The aggregate holds an event that this binary cannot read: it is frozen here.
    #[error("the aggregate is frozen at sequence {sequence}")]
    Frozen {
        /// Where the unreadable event is.
        sequence: u64,
        /// What is wrong with it.
        #[source]
        why: Cause,
    },
}

/// Which events a reader wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// All of them.
    All,
    /// Those of one kind of aggregate (`account`, `tenancy`, `session`, `backend`, `claim`).
    Kind(&'static str),
    /// Those of one aggregate.
    One(AggregateId),
}

impl Filter {
    /// Whether it selects what stands on this subject, readable or not.
    #[must_use]
    pub fn selects(self, subject: &str) -> bool {
        match self {
            Self::All => true,
            Self::Kind(kind) => subject
                .strip_prefix("dockhost.event.")
                .is_some_and(|rest| rest.strip_prefix(kind).is_some_and(|rest| rest.starts_with('.'))),
            Self::One(aggregate) => subject == aggregate.to_string(),
        }
    }
}

/// What an ordered reader gets.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// The next event.
    Event(Arc<RecordedEvent>),
    /// The next event, which this binary cannot read.
    Unreadable {
        /// Its place in the stream.
        sequence: u64,
        /// Its subject.
        subject: String,
        /// What is wrong with it.
        why: String,
    },
    /// All events stored so far were delivered; said once per reader, even for an empty log.
    CaughtUp,
    /// Nothing new, but the log was heard just now.
    Idle,
}

/// The first events of an aggregate.
#[derive(Debug, Clone)]
pub struct FirstPage {
    /// In order.
    pub events: Vec<RecordedEvent>,
    /// Whether there are no more.
    pub complete: bool,
}

/// The port to the log.
pub trait EventLog: Send + Sync + 'static {
    /// Stores one event. A timeout is resolved before this returns: the same event is published again with the same
    /// expectation until it is acknowledged or conflicts, and then looked for by its id.
    fn append(&self, entry: Append) -> BoxFuture<'_, Result<u64, AppendError>>;

    /// Stores all or nothing, in order, at consecutive sequences; returns the last one's. At most one event per
    /// aggregate.
    fn append_batch(&self, entries: Vec<Append>) -> BoxFuture<'_, Result<u64, AppendError>>;

    /// The aggregate's events after a sequence (0 for all), in order.
    fn load(&self, aggregate: AggregateId, after: u64) -> BoxFuture<'_, Result<Vec<RecordedEvent>, LogError>>;

    /// The aggregate's first few events: for most aggregates, all of them.
    fn load_first(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<FirstPage, LogError>>;

    /// The last sequence on the aggregate's subject, asked of the stream's leader; 0 if there is none.
    fn last_sequence(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<u64, LogError>>;

    /// The last sequence of the events that a reader wants; 0 if there is none.
    fn end(&self, filter: Filter) -> BoxFuture<'_, Result<u64, LogError>>;

    /// All events after a sequence, in order and without a gap, for ever. It heals itself while the broker is away and
    /// ends only when it is dropped; the broker being away shows as neither `Idle` nor `Event`.
    fn follow(&self, after: u64, filter: Filter) -> BoxStream<'static, Delivery>;

    /// Which log this is.
    fn incarnation(&self) -> &Incarnation;
}
