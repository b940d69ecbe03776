//! Aggregates that stopped at an event which can't be folded, while all others go on.
//!
//! In: what the log holds, place by place. Out: the documents that change, and the aggregates that are held from some
//! sequence on. An event that this program can't read (an unknown type or version, a body of another shape), or that a
//! fold panics on, holds its own aggregate at the event before it: what follows of that aggregate is skipped, its
//! documents stay as they were. The live projector, a rebuild and a verification all fold through
//! [`Quarantine::fold`], so they end at the same documents.
//!
//! The list lies in the model's checkpoint, which then says: all events up to its sequence are in the documents, but
//! for these aggregates from their sequences on. Whoever changes the list raises `changes`, which is part of what every
//! write to the checkpoint believes: a projector that goes by an older list is told so and opens anew.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use dockhost_domain::envelope::RecordedEvent;
use dockhost_domain::subject::AggregateId;
use serde::{Deserialize, Serialize};

use crate::model::{Folded, IdOf, ReadModel};

/// Aggregates that one model can hold. More of them mean that the wrong program is running: the model stops instead.
pub const MAX_QUARANTINED: usize = 10_000;
/// Characters of a reason that are kept.
const MAX_REASON_CHARS: usize = 300;

/// An event that can't be folded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// The subject that it is on, one per aggregate.
    pub subject: String,
    /// Its place in the log.
    pub sequence: u64,
    /// What is wrong with it; nothing personal.
    pub why: String,
}

impl Unreadable {
    /// The event at `sequence` on `subject`; of a long reason only the beginning is kept.
    #[must_use]
    pub fn new(subject: impl Into<String>, sequence: u64, why: &str) -> Self {
        Self { subject: subject.into(), sequence, why: why.chars().take(MAX_REASON_CHARS).collect() }
    }
}

/// What the log holds at one place.
#[derive(Debug, Clone)]
pub enum LogEntry {
    /// An event.
    Event(Arc<RecordedEvent>),
    /// Something that this program can't read.
    Unreadable(Unreadable),
}

/// Something that stands at one place of the log.
pub trait LogItem: Sync {
    /// The event, or what is known of one that can't be read.
    ///
    /// # Errors
    /// Not a failure: the other case.
    fn event(&self) -> Result<&RecordedEvent, &Unreadable>;

    /// Its place in the log.
    fn sequence(&self) -> u64 {
        self.event().map_or_else(|unreadable| unreadable.sequence, |recorded| recorded.sequence)
    }
}

impl LogItem for LogEntry {
    fn event(&self) -> Result<&RecordedEvent, &Unreadable> {
        match self {
            Self::Event(recorded) => Ok(recorded),
            Self::Unreadable(unreadable) => Err(unreadable),
        }
    }
}

impl LogItem for RecordedEvent {
    fn event(&self) -> Result<&RecordedEvent, &Unreadable> {
        Ok(self)
    }
}

impl LogItem for Arc<RecordedEvent> {
    fn event(&self) -> Result<&RecordedEvent, &Unreadable> {
        Ok(self)
    }
}

/// More aggregates would have to be held than [`MAX_QUARANTINED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_QUARANTINED} aggregates hold events that can't be read")]
pub struct QuarantineFull;

/// The aggregates that one model holds. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredQuarantine", into = "StoredQuarantine")]
pub struct Quarantine {
    changes: u64,
    entries: Arc<BTreeMap<String, Unreadable>>,
}

/// The members of a checkpoint that it is stored as; none while nothing was ever held.
#[derive(Serialize, Deserialize)]
struct StoredQuarantine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quarantined: Option<Vec<Unreadable>>,
}

impl From<StoredQuarantine> for Quarantine {
    fn from(StoredQuarantine { changes, quarantined }: StoredQuarantine) -> Self {
        let entries = quarantined.into_iter().flatten().map(|one| (one.subject.clone(), one)).collect();
        Self { changes: changes.unwrap_or(0), entries: Arc::new(entries) }
    }
}

impl From<Quarantine> for StoredQuarantine {
    fn from(quarantine: Quarantine) -> Self {
        let changed = quarantine.changes > 0;
        let entries = || quarantine.entries().cloned().collect();
        Self { changes: changed.then_some(quarantine.changes), quarantined: changed.then(entries) }
    }
}

impl Quarantine {
    /// How often the stored list was changed.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// The next list, without this aggregate.
    pub(crate) fn without(&self, subject: &str) -> Self {
        let mut next = self.clone();
        Arc::make_mut(&mut next.entries).remove(subject);
        next.replacing(self)
    }

    /// This list in the place of `before`: another one counts as a change.
    pub(crate) fn replacing(self, before: &Self) -> Self {
        Self { changes: before.changes + u64::from(self.entries != before.entries), ..self }
    }

    /// The first event of each aggregate that can't be folded, by subject.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Unreadable> {
        self.entries.values()
    }

    /// How many aggregates are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What holds an aggregate, if anything does.
    #[must_use]
    pub fn get(&self, subject: &str) -> Option<&Unreadable> {
        self.entries.get(subject)
    }

    /// Whether an aggregate's event at this sequence is not to be folded.
    #[must_use]
    pub fn covers(&self, aggregate: &AggregateId, sequence: u64) -> bool {
        !self.is_empty() && self.get(&aggregate.to_string()).is_some_and(|held| held.sequence <= sequence)
    }

    /// Holds an aggregate from this event on; one that is held from an earlier one stays so.
    ///
    /// # Errors
    /// [`QuarantineFull`]; then nothing has changed.
    pub fn add(&mut self, unreadable: Unreadable) -> Result<(), QuarantineFull> {
        match self.get(&unreadable.subject) {
            Some(held) if held.sequence <= unreadable.sequence => return Ok(()),
            None if self.len() >= MAX_QUARANTINED => return Err(QuarantineFull),
            Some(_) | None => {}
        }
        Arc::make_mut(&mut self.entries).insert(unreadable.subject.clone(), unreadable);
        Ok(())
    }

    /// Folds what stands at one place of the log: an event, unless its aggregate is held. Returns the ids of the
    /// documents that changed.
    ///
    /// # Errors
    /// [`QuarantineFull`] when it would have to be held.
    pub fn fold<M: ReadModel>(
        &mut self,
        folded: &mut Folded<M>,
        logged: &(impl LogItem + ?Sized),
    ) -> Result<Vec<IdOf<M>>, QuarantineFull> {
        let recorded = match logged.event() {
            Ok(recorded) => recorded,
            Err(unreadable) => {
                self.add(unreadable.clone())?;
                return Ok(Vec::new());
            }
        };
        let aggregate = &recorded.envelope.aggregate;
        if self.covers(aggregate, recorded.sequence) {
            return Ok(Vec::new());
        }
        // A fold that panics has changed nothing: documents are put back only when all of them are done.
        if let Ok(changed) = catch_unwind(AssertUnwindSafe(|| folded.fold(recorded))) {
            return Ok(changed);
        }
        self.add(Unreadable::new(aggregate.to_string(), recorded.sequence, "its fold panicked"))?;
        Ok(Vec::new())
    }
}

/// The documents that an entry would change; none if it can't be told.
pub(crate) fn keys<M: ReadModel>(logged: &(impl LogItem + ?Sized)) -> Vec<IdOf<M>> {
    let Ok(recorded) = logged.event() else { return Vec::new() };
    catch_unwind(|| M::keys(&recorded.envelope)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
