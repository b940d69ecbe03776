//! Verification: compares the live documents with the log, while the projector continues.
//!
//! It reads the checkpoint, folds the log up to exactly that sequence, and only then reads the documents; see
//! [`crate::compare`]. Memory is bounded: documents that don't fit go to a scratch collection, which is dropped at the
//! end. The next verification drops the scratch collection of one that was killed.

use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _};

use crate::compare::compare;
use crate::comparison::Comparison;
use crate::log::{History, OnProgress};
use crate::model::ReadModel;
use crate::projector::{ProjectionError, check};
use crate::rebuild_buffer::{DOCUMENTS_IN_MEMORY, RebuildBuffer};
use crate::scan::{JobKind, ModelJob, ModelResult, Scanned, run_jobs};
use crate::store::{Checkpoint, CollectionName, MongoStore};

/// If the checkpoint advanced further than this while the log was folded, the log is folded up to the new checkpoint, so
/// that few documents are beyond it.
const MAX_EVENTS_BEHIND: u64 = 10_000;
/// How often that is repeated.
const MAX_CATCH_UP_ROUNDS: u32 = 4;

/// Compares the live documents of a model with the log.
///
/// # Errors
/// [`ProjectionError::ForeignLog`] or `FoldChanged` if the documents can't be compared with this log or fold;
/// `AheadOfLog`; `Superseded` if a rebuild replaced them meanwhile; `BadCopy` if another verification of a large model
/// started meanwhile; `Store`, `History`, `OutOfOrder`, `QuarantineFull`.
pub async fn verify<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    on_progress: OnProgress<'_>,
) -> Result<Comparison, ProjectionError> {
    verify_within::<M>(store, history, DOCUMENTS_IN_MEMORY, on_progress).await
}

/// The same with at most this many documents in memory.
///
/// # Errors
/// As [`verify`].
pub async fn verify_within<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    capacity: usize,
    on_progress: OnProgress<'_>,
) -> Result<Comparison, ProjectionError> {
    let verification = Verification::<M>::start(store, history, capacity).await?;
    Box::new(verification).finish(history, on_progress).await
}

/// Verifies all models, or only the named one.
///
/// # Errors
/// The log could not be read; errors of a model are in its result.
pub async fn verify_all(
    store: &MongoStore,
    history: &dyn History,
    only: Option<&str>,
    on_progress: OnProgress<'_>,
) -> Result<Vec<ModelResult<Comparison>>, ProjectionError> {
    run_jobs::<Verifications>(store, history, only, on_progress).await
}

struct Verifications;

impl JobKind for Verifications {
    type Output = Comparison;

    fn start<'a, M: ReadModel>(
        store: &'a MongoStore,
        history: &'a dyn History,
    ) -> BoxFuture<'a, Result<Box<dyn ModelJob<Output = Comparison>>, ProjectionError>> {
        let started = Verification::<M>::start(store, history, DOCUMENTS_IN_MEMORY);
        started.map_ok(|job| Box::new(job) as _).boxed()
    }
}

struct Verification<M: ReadModel> {
    store: MongoStore,
    checkpoint: Checkpoint,
    scratch: CollectionName,
    buffer: RebuildBuffer<M>,
}

impl<M: ReadModel> Verification<M> {
    async fn start(store: &MongoStore, history: &dyn History, capacity: usize) -> Result<Self, ProjectionError> {
        for scratch in store.scratch_collections::<M>().await? {
            store.drop_collection(&scratch).await?;
        }
        let incarnation = history.incarnation();
        let checkpoint = store.checkpoint::<M>().await?.unwrap_or_else(|| Checkpoint::first::<M>(&incarnation));
        check::<M>(&checkpoint, &incarnation)?;
        checked_end::<M>(history, &checkpoint).await?;
        let scratch = CollectionName::scratch(M::NAME);
        let buffer = RebuildBuffer::new(store, scratch.clone(), capacity);
        Ok(Self { store: store.clone(), checkpoint, scratch, buffer })
    }
}

impl<M: ReadModel> ModelJob for Verification<M> {
    type Output = Comparison;

    fn scanned(&mut self) -> Scanned<'_> {
        Scanned { target: &mut self.buffer, to: self.checkpoint.sequence, result: Ok(()) }
    }

    fn finish<'a>(
        mut self: Box<Self>,
        history: &'a dyn History,
        on_progress: OnProgress<'a>,
    ) -> BoxFuture<'a, Result<Comparison, ProjectionError>> {
        async move {
            let Self { store, checkpoint, scratch, buffer } = &mut *self;
            let comparison = compare_with_log(store, history, buffer, checkpoint.clone(), on_progress).await;
            if buffer.spilled() {
                store.drop_collection(scratch).await?;
            }
            comparison
        }
        .boxed()
    }
}

/// Folds the log up to the checkpoint and compares the live documents with the result.
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
        // A model without a checkpoint has no documents either.
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
    // The collection may have been dropped while it was read.
    let now = store.checkpoint::<M>().await?;
    if now.is_some_and(|now| now.collection != checkpoint.collection) {
        return Err(ProjectionError::Superseded { model: M::NAME });
    }
    Ok(comparison)
}

/// The log's end. It is read after the checkpoint and so can't be before it, unless the log lost its end.
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
