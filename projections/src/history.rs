//! The log's past, as a rebuild or a verification needs it: a port that the server wires to the log.
//!
//! In: a range of the log. Out: what stands there of one kind, in order; and the words in which a long reading says how
//! far it is.

use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::AggregateId;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::quarantine::LogEntry;
use crate::store::Cause;

/// The port to the log's past.
pub trait History: Send + Sync {
    /// Which log it is.
    fn incarnation(&self) -> Incarnation;

    /// The last sequence of the whole log now.
    fn end(&self) -> BoxFuture<'_, Result<u64, Cause>>;

    /// Everything on the subjects of this kind of aggregate with `after < sequence <= to`, in order, what can't be read
    /// included; then it ends. `to` is never beyond what [`History::end`] has said.
    fn read(&self, kind: &'static str, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>>;

    /// The same of one aggregate.
    fn read_one(&self, aggregate: AggregateId, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>>;
}

/// What a long operation is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Folding the log; counted in its sequences.
    Fold,
    /// Comparing; counted in documents.
    Compare,
}

/// How far a long operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The model.
    pub model: &'static str,
    /// What is being done.
    pub stage: Stage,
    /// So much of it is.
    pub done: u64,
    /// Of this many.
    pub total: u64,
}

/// Is told of progress, at most a thousand apart and at the end of each stage.
pub type OnProgress<'a> = &'a mut (dyn FnMut(Progress) + Send);
