//! Whether the live documents are what the log says, while both go on.
//!
//! In: the live documents, read once, and the log's past, folded as a rebuild does it. Out: two digests, and every
//! difference.
//!
//! How this is sound without stopping anything: a checkpoint is read, the log is folded up to exactly its sequence, and
//! only then are the documents read; [`crate::compare`] says what follows from that. Memory stays the same however
//! large the model is: what doesn't fit goes to a collection of its own, which is dropped in the end. One that a
//! verification left behind when it was killed is dropped by the next.

use std::fmt;

use crate::compare::compare;
use crate::digest::{Digest, Mismatch};
use crate::draft::{CAPACITY, Draft};
use crate::history::{History, Watcher};
use crate::model::ReadModel;
use crate::projector::ProjectionError;
use crate::store::{Checkpoint, CollectionName, MongoStore};

/// A checkpoint that is this much further after the log was folded is followed once more, so that little is left that
/// moved meanwhile; so often at most.
const NEAR: u64 = 10_000;
const ROUNDS: u32 = 4;

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
/// end, `Superseded` when a rebuild replaced them meanwhile, `BadCopy` when another verification of a large model
/// began meanwhile; `Store`, `History`, `OutOfOrder`, `TooManyHeld`.
pub async fn verify<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    watcher: Watcher<'_>,
) -> Result<Verdict, ProjectionError> {
    verify_within::<M>(store, history, CAPACITY, watcher).await
}

/// The same with at most so many documents in memory.
///
/// # Errors
/// As [`verify`].
pub async fn verify_within<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    capacity: usize,
    watcher: Watcher<'_>,
) -> Result<Verdict, ProjectionError> {
    for left in store.scratches::<M>().await? {
        store.drop_collection(&left).await?;
    }
    let ours = history.incarnation();
    let checkpoint = store.checkpoint::<M>().await?.unwrap_or_else(|| Checkpoint::first::<M>(&ours));
    let stored = checkpoint.incarnation.clone();
    if stored != ours {
        return Err(ProjectionError::ForeignLog { model: M::NAME, stored, ours });
    }
    let scratch = CollectionName::scratch(M::NAME);
    let mut draft = Draft::<M>::new(store, scratch.clone(), capacity);
    let verdict = judge(store, history, &mut draft, checkpoint, watcher).await;
    if draft.spilled() {
        store.drop_collection(&scratch).await?;
    }
    verdict
}

/// Folds up to the checkpoint and compares the live documents with that.
pub(crate) async fn judge<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    draft: &mut Draft<M>,
    mut checkpoint: Checkpoint,
    watcher: Watcher<'_>,
) -> Result<Verdict, ProjectionError> {
    for _ in 0..ROUNDS {
        end_after::<M>(history, &checkpoint).await?;
        draft.fold_to(history, checkpoint.sequence, watcher).await?;
        // None is as good as the one that a model without documents has.
        let now = store.checkpoint::<M>().await?.filter(|now| now.incarnation == checkpoint.incarnation);
        let further = now.filter(|now| now.sequence > checkpoint.sequence + NEAR);
        let Some(further) = further else { break };
        checkpoint = further;
    }
    draft.fold_to(history, checkpoint.sequence, watcher).await?;
    if draft.spilled() {
        draft.write().await?;
    }
    let verdict = compare(store, history, &checkpoint, draft, watcher).await?;
    // What was read may have been dropped meanwhile.
    let now = store.checkpoint::<M>().await?;
    if now.is_some_and(|now| now.collection != checkpoint.collection) {
        return Err(ProjectionError::Superseded { model: M::NAME });
    }
    Ok(verdict)
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
