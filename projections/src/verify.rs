//! Whether the live documents are what the log says, while both go on.
//!
//! In: the live documents, read once, and the log's past, folded as a rebuild does it. Out: two digests, and every
//! difference.
//!
//! How this is sound without stopping anything: a checkpoint is read, the log is folded up to exactly its sequence, and
//! only then are the documents read; [`crate::compare`] says what follows from that. Memory stays the same however
//! large the model is: what doesn't fit goes to a collection of its own, which is dropped in the end. One that a
//! verification left behind when it was killed is dropped by the next.

use crate::compare::compare;
use crate::comparison::Comparison;
use crate::history::{History, OnProgress};
use crate::model::ReadModel;
use crate::projector::ProjectionError;
use crate::rebuild_buffer::{DOCUMENTS_IN_MEMORY, RebuildBuffer};
use crate::store::{Checkpoint, CollectionName, MongoStore};

/// A checkpoint that is this much further after the log was folded is followed once more, so that little is left that
/// moved meanwhile; so often at most.
const MAX_EVENTS_BEHIND: u64 = 10_000;
const MAX_CATCH_UP_ROUNDS: u32 = 4;

/// Compares the live documents of a model with the log.
///
/// # Errors
/// [`ProjectionError::ForeignLog`] when the documents were folded from another log, `AheadOfLog` when it has lost its
/// end, `Superseded` when a rebuild replaced them meanwhile, `BadCopy` when another verification of a large model
/// began meanwhile; `Store`, `History`, `OutOfOrder`, `QuarantineFull`.
pub async fn verify<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    on_progress: OnProgress<'_>,
) -> Result<Comparison, ProjectionError> {
    verify_within::<M>(store, history, DOCUMENTS_IN_MEMORY, on_progress).await
}

/// The same with at most so many documents in memory.
///
/// # Errors
/// As [`verify`].
pub async fn verify_within<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    capacity: usize,
    on_progress: OnProgress<'_>,
) -> Result<Comparison, ProjectionError> {
    for left in store.scratch_collections::<M>().await? {
        store.drop_collection(&left).await?;
    }
    let ours = history.incarnation();
    let checkpoint = store.checkpoint::<M>().await?.unwrap_or_else(|| Checkpoint::first::<M>(&ours));
    let stored = checkpoint.incarnation.clone();
    if stored != ours {
        return Err(ProjectionError::ForeignLog { model: M::NAME, stored, ours });
    }
    let scratch = CollectionName::scratch(M::NAME);
    let mut buffer = RebuildBuffer::<M>::new(store, scratch.clone(), capacity);
    let comparison = compare_with_log(store, history, &mut buffer, checkpoint, on_progress).await;
    if buffer.spilled() {
        store.drop_collection(&scratch).await?;
    }
    comparison
}

/// Folds up to the checkpoint and compares the live documents with that.
pub(crate) async fn compare_with_log<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    buffer: &mut RebuildBuffer<M>,
    mut checkpoint: Checkpoint,
    on_progress: OnProgress<'_>,
) -> Result<Comparison, ProjectionError> {
    for _ in 0..MAX_CATCH_UP_ROUNDS {
        checked_end::<M>(history, &checkpoint).await?;
        buffer.fold_to(history, checkpoint.sequence, on_progress).await?;
        // None is as good as the one that a model without documents has.
        let now = store.checkpoint::<M>().await?.filter(|now| now.incarnation == checkpoint.incarnation);
        let further = now.filter(|now| now.sequence > checkpoint.sequence + MAX_EVENTS_BEHIND);
        let Some(further) = further else { break };
        checkpoint = further;
    }
    buffer.fold_to(history, checkpoint.sequence, on_progress).await?;
    if buffer.spilled() {
        buffer.write().await?;
    }
    let comparison = compare(store, history, &checkpoint, buffer, on_progress).await?;
    // What was read may have been dropped meanwhile.
    let now = store.checkpoint::<M>().await?;
    if now.is_some_and(|now| now.collection != checkpoint.collection) {
        return Err(ProjectionError::Superseded { model: M::NAME });
    }
    Ok(comparison)
}

/// The log's end, which is asked after the checkpoint was read and so can't be before it.
pub(crate) async fn checked_end<M: ReadModel>(
    history: &dyn History,
    checkpoint: &Checkpoint,
) -> Result<u64, ProjectionError> {
    let end = history.end().await.map_err(ProjectionError::History)?;
    if checkpoint.incarnation == history.incarnation() && checkpoint.sequence > end {
        return Err(ProjectionError::AheadOfLog { model: M::NAME, position: checkpoint.sequence, end });
    }
    Ok(end)
}
