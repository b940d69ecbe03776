//! What a read model is, and folding events into its documents in memory.
//!
//! A document carries the sequence of the last event folded into it (`seq`), and an event at or below it is not folded
//! again. Folding is therefore idempotent: a projector may restart anywhere, two may run at once, and a rebuild yields
//! the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use dockhost_domain::envelope::{Envelope, RecordedEvent};

use crate::log::LogEntry;
use crate::store::{Document, IdOf, Quarantine, QuarantineFull, StoredModel, Unreadable};

/// One read model: a pure fold.
pub trait ReadModel: StoredModel {
    /// The kind of aggregate whose events it folds (`AggregateId::kind`). A document folds one kind only, in log order;
    /// queries join what belongs to another.
    const KIND: &'static str;
    /// How long the live projector collects events before it stores them. Zero if requests wait for the documents.
    const DEBOUNCE: Duration = Duration::ZERO;

    /// The ids of the documents that an event changes; none for an event of another kind.
    fn keys(event: &Envelope) -> Vec<IdOf<Self>>;

    /// Applies an event to one of its documents. It is total and never removes a document: it returns `None` only for
    /// `None`, when the event changes something that was never created.
    fn fold(id: IdOf<Self>, document: Option<Self::Document>, recorded: &RecordedEvent) -> Option<Self::Document>;
}

/// Documents of one model in memory, and which of them changed.
#[derive(Debug, Clone)]
pub struct Folded<M: ReadModel> {
    documents: BTreeMap<IdOf<M>, M::Document>,
    changed: BTreeSet<IdOf<M>>,
}

impl<M: ReadModel> Default for Folded<M> {
    fn default() -> Self {
        Self { documents: BTreeMap::new(), changed: BTreeSet::new() }
    }
}

impl<M: ReadModel> Folded<M> {
    /// Starts from stored documents.
    pub fn from_documents(documents: impl IntoIterator<Item = M::Document>) -> Self {
        Self { documents: documents.into_iter().map(|d| (d.id(), d)).collect(), changed: BTreeSet::new() }
    }

    /// Folds one event, except into documents that have it. Changes nothing if the fold panics. Returns the ids of the
    /// documents that changed.
    pub fn fold(&mut self, recorded: &RecordedEvent) -> Vec<IdOf<M>> {
        let mut afterwards = Vec::new();
        for id in M::keys(&recorded.envelope) {
            let before = self.documents.get(&id);
            if before.is_some_and(|document| document.seq() >= recorded.sequence) {
                continue;
            }
            // The fold gets a copy, so a panic loses nothing.
            if let Some(mut after) = M::fold(id, before.cloned(), recorded) {
                after.set_seq(recorded.sequence);
                afterwards.push((id, after));
            }
        }
        let changed: Vec<_> = afterwards.iter().map(|(id, _)| *id).collect();
        self.changed.extend(&changed);
        self.documents.extend(afterwards);
        changed
    }

    /// Folds one entry of the log, unless its aggregate is quarantined. An event that can't be read, or whose fold
    /// panics, is added to the quarantine: its aggregate's documents stay as they are. The live projector, a rebuild and
    /// a verification all fold through this function, so they yield the same documents.
    ///
    /// # Errors
    /// [`QuarantineFull`].
    pub fn fold_entry(
        &mut self,
        entry: &LogEntry,
        quarantine: &mut Quarantine,
    ) -> Result<Vec<IdOf<M>>, QuarantineFull> {
        let recorded = match entry {
            LogEntry::Event(recorded) => recorded,
            LogEntry::Unreadable(unreadable) => {
                quarantine.add(unreadable.clone())?;
                return Ok(Vec::new());
            }
        };
        let aggregate = &recorded.envelope.aggregate;
        if quarantine.covers(aggregate, recorded.sequence) {
            return Ok(Vec::new());
        }
        if let Ok(changed) = catch_unwind(AssertUnwindSafe(|| self.fold(recorded))) {
            return Ok(changed);
        }
        quarantine.add(Unreadable::new(aggregate.to_string(), recorded.sequence, "its fold panicked"))?;
        Ok(Vec::new())
    }

    /// Inserts a stored document; it counts as unchanged.
    pub(crate) fn insert(&mut self, document: M::Document) {
        self.documents.insert(document.id(), document);
    }

    /// Removes the documents that changed longest ago, until `count` are left.
    pub(crate) fn evict_oldest(&mut self, count: usize) {
        let mut seqs: Vec<u64> = self.documents.values().map(Document::seq).collect();
        if let Some(least) = seqs.len().checked_sub(count).filter(|least| *least < seqs.len()) {
            let least = *seqs.select_nth_unstable(least).1;
            self.documents.retain(|_, document| document.seq() >= least);
        }
    }

    /// One document.
    #[must_use]
    pub fn get(&self, id: IdOf<M>) -> Option<&M::Document> {
        self.documents.get(&id)
    }

    /// All documents, by id.
    pub fn documents(&self) -> impl Iterator<Item = &M::Document> {
        self.documents.values()
    }

    /// How many documents there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether there is no document.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// The documents that changed since the last [`Folded::take_changed`].
    pub(crate) fn changed(&self) -> impl Iterator<Item = &M::Document> {
        self.changed.iter().filter_map(|id| self.documents.get(id))
    }

    /// The same, and marks them as unchanged.
    pub fn take_changed(&mut self) -> Vec<&M::Document> {
        let changed = std::mem::take(&mut self.changed);
        changed.iter().filter_map(|id| self.documents.get(id)).collect()
    }
}

#[cfg(test)]
mod quarantine_tests;
#[cfg(test)]
mod tests;
