//! The log as the read models see it: its entries, and the port through which a rebuild or a verification reads it.

use std::panic::catch_unwind;
use std::sync::Arc;

use dockhost_domain::envelope::RecordedEvent;
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::{ALL_EVENTS, AggregateId};
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::model::ReadModel;
use crate::store::{Cause, IdOf, Unreadable};

/// What the log holds at one sequence.
#[derive(Debug, Clone)]
pub enum LogEntry {
    /// An event.
    Event(Arc<RecordedEvent>),
    /// An event that this program can't read.
    Unreadable(Unreadable),
}

impl LogEntry {
    /// Its sequence.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Event(recorded) => recorded.sequence,
            Self::Unreadable(unreadable) => unreadable.sequence,
        }
    }

    /// Whether it is on a subject of this kind of aggregate.
    #[must_use]
    pub fn is_of_kind(&self, kind: &str) -> bool {
        match self {
            Self::Event(recorded) => recorded.envelope.aggregate.kind() == kind,
            // The subject may name no aggregate of ours, so its text decides.
            Self::Unreadable(Unreadable { subject, .. }) => {
                let rest = subject.strip_prefix(ALL_EVENTS.trim_end_matches('>')).unwrap_or_default();
                rest.split_once('.').is_some_and(|(found, _)| found == kind)
            }
        }
    }

    /// The ids of the documents that it changes; empty if the event can't be read.
    pub(crate) fn keys<M: ReadModel>(&self) -> Vec<IdOf<M>> {
        match self {
            Self::Event(recorded) => catch_unwind(|| M::keys(&recorded.envelope)).unwrap_or_default(),
            Self::Unreadable(_) => Vec::new(),
        }
    }
}

impl From<RecordedEvent> for LogEntry {
    fn from(recorded: RecordedEvent) -> Self {
        Self::Event(Arc::new(recorded))
    }
}

/// The port to the stored part of the log.
pub trait History: Send + Sync {
    /// Which log it is.
    fn incarnation(&self) -> Incarnation;

    /// The last sequence of the whole log.
    fn end(&self) -> BoxFuture<'_, Result<u64, Cause>>;

    /// The entries of all aggregates with `after < sequence <= to`, in order. `to` must not exceed a result of
    /// [`History::end`].
    fn read_all(&self, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>>;

    /// The same for one kind of aggregate.
    fn read(&self, kind: &'static str, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>>;

    /// The same for one aggregate.
    fn read_one(&self, aggregate: AggregateId, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>>;
}

/// The stages of a rebuild or a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Folding the log; counted in sequences.
    Fold,
    /// Comparing; counted in documents.
    Compare,
}

/// The progress of a rebuild or a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The model.
    pub model: &'static str,
    /// The current stage.
    pub stage: Stage,
    /// The part of `total` that is done.
    pub done: u64,
    /// The size of the stage.
    pub total: u64,
}

/// Receives the progress: at least every thousand entries or documents, and at the end of each stage.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Sync);
