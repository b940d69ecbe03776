//! What a read model is, and how events are folded into its documents in memory.
//!
//! In: events of one aggregate kind, in stream order. Out: documents that each carry the sequence of the last event
//! folded into them (`seq`). That number makes folding safe to repeat: an event at or below it was folded already. So
//! a projector may start over after a crash, two may run at once, and a rebuild ends at the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use dockhost_domain::envelope::{Envelope, RecordedEvent};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A document of a read model. Its JSON form is what is stored, with its id as `_id`.
pub trait Document: Serialize + DeserializeOwned + Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static {
    /// What it is found by.
    type Id: Copy + Ord + Display + FromStr + std::fmt::Debug + Send + Sync + 'static;

    /// Its id.
    fn id(&self) -> Self::Id;

    /// The sequence of the last event folded into it.
    fn seq(&self) -> u64;

    /// Notes that the event at this sequence is folded in; folds leave that to [`Folded`].
    fn set_seq(&mut self, seq: u64);
}

/// One read model: a pure fold with a name.
pub trait ReadModel: Send + Sync + 'static {
    /// The documented name of its collection, and the `_id` of its checkpoint.
    const NAME: &'static str;
    /// Rises whenever the fold or the document changes its meaning; documents of another version must be rebuilt.
    const FOLD_VERSION: u32;
    /// The kind of aggregate whose events it folds (`AggregateId::kind`). A document folds one kind only, in log order;
    /// what belongs to another is joined by the query.
    const KIND: &'static str;
    /// The indexes that its queries need: each one a list of ascending members.
    const INDEXES: &'static [&'static [&'static str]];
    /// A live projector gathers events for so long before it stores them. Zero where somebody waits for the documents.
    const DEBOUNCE: Duration = Duration::ZERO;

    /// Its documents.
    type Document: Document;

    /// Which documents an event changes; none for an event of another kind.
    fn keys(event: &Envelope) -> Vec<<Self::Document as Document>::Id>;

    /// Applies an event to one of its documents. Total, and never takes a document away: `None` comes back only when
    /// `None` went in (the event changes something that never began).
    fn fold(
        id: <Self::Document as Document>::Id,
        document: Option<Self::Document>,
        recorded: &RecordedEvent,
    ) -> Option<Self::Document>;
}

/// The id of a model's documents.
pub type IdOf<M> = <<M as ReadModel>::Document as Document>::Id;

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

    /// Folds one event in; what was folded before is left alone, and all of it if the
    /// fold panics. Returns the ids of the documents that changed.
    pub fn fold(&mut self, recorded: &RecordedEvent) -> Vec<IdOf<M>> {
        let mut afterwards = Vec::new();
        for id in M::keys(&recorded.envelope) {
            let before = self.documents.get(&id);
            if before.is_some_and(|document| document.seq() >= recorded.sequence) {
                continue;
            }
            // The fold gets a copy: should it panic, nothing is lost and nothing half done.
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

    /// Takes a stored document up; it counts as unchanged.
    pub(crate) fn put(&mut self, document: M::Document) {
        self.documents.insert(document.id(), document);
    }

    /// Lets go of those that changed longest ago, until as many are left.
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

    /// The documents that changed since that was last taken.
    pub(crate) fn changed(&self) -> impl Iterator<Item = &M::Document> {
        self.changed.iter().filter_map(|id| self.documents.get(id))
    }

    /// The documents that changed since this was last asked.
    pub fn take_changed(&mut self) -> Vec<&M::Document> {
        let changed = std::mem::take(&mut self.changed);
        changed.iter().filter_map(|id| self.documents.get(id)).collect()
    }
}

#[cfg(test)]
mod tests;
