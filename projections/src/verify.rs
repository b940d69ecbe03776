//! Whether the live documents are what the log says, while both go on.
//!
//! In: the live documents, read once, and the log's past, folded in memory. Out: two digests, and every difference.
//!
//! How this is sound without stopping anything: the checkpoint is read first, then the documents, then the log is
//! folded up to the newest sequence that either names. Each stored document is compared with the fold *at that
//! document's own `seq`*, which the fold passes through; and it must not be older than the last event of it that the
//! checkpoint covers. So a document that the live projector moves meanwhile is compared as it was read, a document
//! that is born after the checkpoint was read is not asked for, what the checkpoint lists as held back is not asked for
//! beyond that, and nothing else is excused.

use std::collections::BTreeMap;
use std::fmt;

use dockhost_domain::envelope::Recorded;
use serde_json::Value;

use crate::digest::{Digest, Mismatch, digest, mismatches};
use crate::history::{History, Watcher, fold_range};
use crate::model::{Document, Folded, IdOf, ReadModel};
use crate::projector::ProjectionError;
use crate::quarantine::Quarantine;
use crate::store::{Checkpoint, CollectionName, MongoStore, StoreError};

/// What is wrong with one document.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Its id, as stored.
    pub id: String,
    /// What is wrong.
    pub kind: DifferenceKind,
}

/// What can be wrong with a document.
#[derive(Debug, Clone, PartialEq)]
pub enum DifferenceKind {
    /// The log says that it should be there.
    Missing,
    /// The log knows nothing of it.
    Unexpected,
    /// It lacks an event that the checkpoint says is in it.
    Behind {
        /// Up to where it is folded.
        seq: u64,
        /// The sequence of an event that it lacks.
        due: u64,
    },
    /// Members differ.
    Content(Vec<Mismatch>),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.id)?;
        match &self.kind {
            DifferenceKind::Missing => f.write_str("is missing"),
            DifferenceKind::Unexpected => f.write_str("is not in the log"),
            DifferenceKind::Behind { seq, due } => write!(f, "is folded up to {seq} and lacks event {due}"),
            DifferenceKind::Content(members) => {
                f.write_str("differs")?;
                members.iter().try_for_each(|member| write!(f, "\n    {member}"))
            }
        }
    }
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The model.
    pub model: &'static str,
    /// The collection that was compared.
    pub collection: CollectionName,
    /// The checkpoint's position when it began.
    pub position: u64,
    /// The version of the fold that the checkpoint names; documents of another than ours are expected to differ.
    pub fold_version: u32,
    /// Documents stored.
    pub documents: usize,
    /// Aggregates that the checkpoint says are held back; their documents are compared as far as they are.
    pub quarantined: usize,
    /// Of the stored documents.
    pub stored: Digest,
    /// Of what the log says that they should be; the same as `stored` exactly when there is no difference.
    pub expected: Digest,
    /// Every document that is not as the log says, by id.
    pub differences: Vec<Difference>,
}

impl Verdict {
    /// Whether every document is what the log says.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty() && self.stored == self.expected
    }
}

/// Compares the live documents of a model with the log.
///
/// # Errors
/// [`ProjectionError::ForeignLog`] when the documents were folded from another log, `AheadOfLog` when it has lost its
/// end; `Store`, `History`, `OutOfOrder`.
pub async fn verify<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    watcher: Watcher<'_>,
) -> Result<Verdict, ProjectionError> {
    let ours = history.incarnation();
    let checkpoint = store.checkpoint::<M>().await?.unwrap_or_else(|| Checkpoint::first::<M>(&ours));
    let stored = checkpoint.incarnation.clone();
    if stored != ours {
        return Err(ProjectionError::ForeignLog { model: M::NAME, stored, ours });
    }
    let mut audit = Audit::<M>::begin(store, checkpoint).await?;
    let to = audit.until(end_after::<M>(history, &audit.checkpoint).await?);
    let (mut folded, mut held) = (Folded::<M>::default(), Quarantine::default());
    let folding = (&mut folded, &mut held);
    fold_range(history, folding, (0, to), watcher, |event, document| audit.observe(event, document)).await?;
    Ok(audit.finish())
}

/// The live documents as they were read, and what the fold said at the moments that matter.
pub(crate) struct Audit<M: ReadModel> {
    checkpoint: Checkpoint,
    stored: BTreeMap<String, Value>,
    /// The fold of each document at its stored `seq`.
    at_seq: BTreeMap<String, M::Document>,
    /// The fold of each document at the checkpoint.
    due: BTreeMap<IdOf<M>, M::Document>,
}

impl<M: ReadModel> Audit<M> {
    /// Reads the live documents; the checkpoint must have been read before.
    pub(crate) async fn begin(store: &MongoStore, checkpoint: Checkpoint) -> Result<Self, StoreError> {
        let stored = store.scan(&checkpoint.collection).await?;
        let stored = stored.into_iter().map(|document| (id_of(&document), document)).collect();
        Ok(Self { checkpoint, stored, at_seq: BTreeMap::new(), due: BTreeMap::new() })
    }

    /// How far the log must be folded, given its end; what claims to be beyond that is no event.
    fn until(&self, end: u64) -> u64 {
        self.stored.values().map(seq_of).fold(self.checkpoint.sequence, u64::max).min(end)
    }

    /// Takes note of a document that the fold just changed, by this event. What the checkpoint says is held back is not
    /// asked for.
    pub(crate) fn observe(&mut self, event: &Recorded, document: &M::Document) {
        let held = self.checkpoint.quarantine.holds(&event.envelope.aggregate, event.sequence);
        if document.seq() <= self.checkpoint.sequence && !held {
            self.due.insert(document.id(), document.clone());
        }
        let id = document.id().to_string();
        if self.stored.get(&id).is_some_and(|stored| seq_of(stored) == document.seq()) {
            self.at_seq.insert(id, document.clone());
        }
    }

    /// Compares.
    pub(crate) fn finish(self) -> Verdict {
        let mut expected: BTreeMap<String, Value> = BTreeMap::new();
        let mut differences: BTreeMap<String, DifferenceKind> = BTreeMap::new();
        for due in self.due.values() {
            let id = due.id().to_string();
            match self.stored.get(&id).map(seq_of) {
                None => drop(differences.insert(id.clone(), DifferenceKind::Missing)),
                Some(seq) if seq < due.seq() => {
                    differences.insert(id.clone(), DifferenceKind::Behind { seq, due: due.seq() });
                }
                Some(_) => {}
            }
            expected.insert(id, form(due));
        }
        for (id, stored) in &self.stored {
            if differences.contains_key(id) {
                continue;
            }
            let kind = match (self.at_seq.get(id), expected.get(id)) {
                (Some(at_seq), _) => {
                    let at_seq = form(at_seq);
                    let members = mismatches(&at_seq, stored);
                    expected.insert(id.clone(), at_seq);
                    DifferenceKind::Content(members)
                }
                // No event of it has the sequence that it claims.
                (None, Some(due)) => DifferenceKind::Content(mismatches(due, stored)),
                (None, None) => DifferenceKind::Unexpected,
            };
            if kind != DifferenceKind::Content(Vec::new()) {
                differences.insert(id.clone(), kind);
            }
        }
        Verdict {
            model: M::NAME,
            collection: self.checkpoint.collection,
            position: self.checkpoint.sequence,
            fold_version: self.checkpoint.fold_version,
            documents: self.stored.len(),
            quarantined: self.checkpoint.quarantine.len(),
            stored: digest(self.stored.values()),
            expected: digest(expected.values()),
            differences: differences.into_iter().map(|(id, kind)| Difference { id, kind }).collect(),
        }
    }
}

/// The form in which a document is stored. Every document type has one: they are plain structs, and the tests of the
/// models write each of them; `Null` would show up as a difference.
pub(crate) fn form(document: &impl Document) -> Value {
    serde_json::to_value(document).unwrap_or(Value::Null)
}

pub(crate) fn id_of(document: &Value) -> String {
    let id = &document["_id"];
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

/// The log's end, which is asked after the checkpoint was read and so can't be before it.
pub(crate) async fn end_after<M: ReadModel>(
    history: &dyn History,
    checkpoint: &Checkpoint,
) -> Result<u64, ProjectionError> {
    let end = history.end().await.map_err(ProjectionError::History)?;
    if checkpoint.incarnation == history.incarnation() && checkpoint.sequence > end {
        return Err(ProjectionError::AheadOfLog { model: M::NAME, position: checkpoint.sequence, end });
    }
    Ok(end)
}

fn seq_of(document: &Value) -> u64 {
    document["seq"].as_u64().unwrap_or(0)
}
