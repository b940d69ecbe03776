//! Rebuild: folds a model again beside the live documents, and replaces them.
//!
//! The result is a new collection, which the checkpoint names from one moment on. A crash after any step does no harm:
//!
//! 1. *Reserve* the next collection in the checkpoint. A later reservation invalidates an earlier one, so of two rebuilds
//!    only one can switch. Numbers only rise: a collection below the live one never becomes live again.
//! 2. *Fold* the log up to the checkpoint (in a [`crate::rebuild_buffer`]) and *compare* the live documents with the
//!    result, unless they are of another log or fold version.
//! 3. *Catch up* with the events recorded meanwhile, *write* the documents, and *check* them by reading them back.
//! 4. *Switch* by one conditional update of the checkpoint. It fails if the live documents are further by then; then catch
//!    up again. The live projector finds its checkpoint superseded, reopens in the new collection, and folds again what
//!    it had not checkpointed.
//! 5. *Drop* the collections below the new one ([`drop_replaced`]) when no reader can use them any more. This includes
//!    what an interrupted rebuild left.

use futures::future::{BoxFuture, join_all};
use futures::{FutureExt as _, TryStreamExt as _};

use crate::comparison::Comparison;
use crate::log::{History, OnProgress};
use crate::model::ReadModel;
use crate::projector::{ProjectionError, check};
use crate::rebuild_buffer::{DOCUMENTS_IN_MEMORY, RebuildBuffer};
use crate::registry::ModelVisitor;
use crate::scan::{self, ModelJob, ModelResult, Scanned};
use crate::store::{Checkpoint, CollectionName, DROP_GRACE_PERIOD, MongoStore};
use crate::verify::{checked_end, compare_with_log};

/// The result of a rebuild.
#[derive(Debug, Clone, PartialEq)]
pub struct Rebuilt {
    /// The model.
    pub model: &'static str,
    /// How the old documents compared with the log; `None` if there were none of this log and fold version.
    pub before: Option<Comparison>,
    /// The collection with the new documents.
    pub collection: CollectionName,
    /// How many documents there are.
    pub documents: usize,
    /// The position at the switch.
    pub position: u64,
    /// How many aggregates are quarantined because this program can't read all of their events.
    pub quarantined: usize,
    /// The replaced collection.
    pub old: CollectionName,
}

/// Rebuilds a model. Reads and the live projector continue. The old documents stay until [`drop_replaced`].
///
/// # Errors
/// [`ProjectionError::Overtaken`] if another rebuild of the model started later; `AheadOfLog`, `BadCopy`, `Store`,
/// `History`, `OutOfOrder`, `QuarantineFull`, `Superseded`. The live documents are unchanged then.
pub async fn rebuild<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    on_progress: OnProgress<'_>,
) -> Result<Rebuilt, ProjectionError> {
    rebuild_within::<M>(store, history, DOCUMENTS_IN_MEMORY, on_progress).await
}

/// The same with at most this many documents in memory.
///
/// # Errors
/// As [`rebuild`].
pub async fn rebuild_within<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    capacity: usize,
    on_progress: OnProgress<'_>,
) -> Result<Rebuilt, ProjectionError> {
    let job = RebuildJob::<M>::start(store, history, capacity).await?;
    Box::new(job).finish(history, on_progress).await
}

/// Rebuilds all models, or only the named one.
///
/// # Errors
/// The log could not be read; errors of a model are in its result.
pub async fn rebuild_all(
    store: &MongoStore,
    history: &dyn History,
    only: Option<&str>,
    on_progress: OnProgress<'_>,
) -> Result<Vec<ModelResult<Rebuilt>>, ProjectionError> {
    let jobs = join_all(crate::visit_selected(only, &mut Start { store, history })).await;
    scan::run(jobs, history, on_progress).await
}

struct Start<'a> {
    store: &'a MongoStore,
    history: &'a dyn History,
}

impl<'a> ModelVisitor for Start<'a> {
    type Output = BoxFuture<'a, ModelResult<Box<dyn ModelJob<Output = Rebuilt>>>>;

    fn visit<M: ReadModel>(&mut self) -> Self::Output {
        let Self { store, history } = *self;
        async move {
            let started = RebuildJob::<M>::start(store, history, DOCUMENTS_IN_MEMORY).await;
            ModelResult { model: M::NAME, result: started.map(|job| Box::new(job) as _) }
        }
        .boxed()
    }
}

struct RebuildJob<M: ReadModel> {
    store: MongoStore,
    live: Checkpoint,
    target: CollectionName,
    buffer: RebuildBuffer<M>,
    /// Whether there are live documents of this log and fold version.
    comparable: bool,
    scan_to: u64,
}

impl<M: ReadModel> RebuildJob<M> {
    async fn start(store: &MongoStore, history: &dyn History, capacity: usize) -> Result<Self, ProjectionError> {
        store.ping().await?;
        let (live, target) = reserve_target::<M>(store, history).await?;
        let end = checked_end::<M>(history, &live).await?;
        let comparable = live.sequence > 0 && check::<M>(&live, &history.incarnation()).is_ok();
        let scan_to = if comparable { live.sequence } else { end };
        let buffer = RebuildBuffer::new(store, target.clone(), capacity);
        Ok(Self { store: store.clone(), live, target, buffer, comparable, scan_to })
    }

    async fn rebuild(mut self, history: &dyn History, on_progress: OnProgress<'_>) -> Result<Rebuilt, ProjectionError> {
        let Self { store, live, target, buffer, comparable, .. } = &mut self;
        let before = if *comparable {
            Some(compare_with_log(store, history, buffer, live.clone(), on_progress).await?)
        } else {
            None
        };
        let mut to = checked_end::<M>(history, live).await?.max(buffer.position());
        buffer.fold_to(history, to, on_progress).await?;
        buffer.write().await?;
        store.ensure_indexes::<M>(target).await?;
        buffer.stored().try_for_each(|_| std::future::ready(Ok(()))).await?;
        loop {
            let next = Checkpoint {
                model: M::NAME.to_owned(),
                incarnation: history.incarnation(),
                sequence: to,
                fold_version: M::fold_version(),
                collection: target.clone(),
                building: None,
                quarantine: buffer.quarantine().clone().replacing(&live.quarantine),
            };
            if store.switch(live, &next).await? {
                break;
            }
            let now = store.checkpoint::<M>().await?;
            let Some(now) = now.filter(|now| now.building.as_ref() == Some(target)) else {
                return Err(ProjectionError::Overtaken { model: M::NAME });
            };
            to = checked_end::<M>(history, &now).await?;
            buffer.fold_to(history, to, on_progress).await?;
            buffer.write().await?;
            // The quarantine may have changed too; the next switch must expect the new one.
            *live = now;
        }
        Ok(Rebuilt {
            model: M::NAME,
            before,
            collection: target.clone(),
            documents: buffer.len(),
            position: to,
            quarantined: buffer.quarantine().len(),
            old: live.collection.clone(),
        })
    }
}

impl<M: ReadModel> ModelJob for RebuildJob<M> {
    type Output = Rebuilt;

    fn scanned(&mut self) -> Scanned<'_> {
        Scanned { target: &mut self.buffer, to: self.scan_to, result: Ok(()) }
    }

    fn finish<'a>(
        self: Box<Self>,
        history: &'a dyn History,
        on_progress: OnProgress<'a>,
    ) -> BoxFuture<'a, Result<Rebuilt, ProjectionError>> {
        self.rebuild(history, on_progress).boxed()
    }
}

/// Drops the collections below the new one, when no reader can use them any more; takes some seconds.
///
/// # Errors
/// [`ProjectionError::Store`]; then the next rebuild drops them.
pub async fn drop_replaced(store: &MongoStore, rebuilt: &[Rebuilt]) -> Result<(), ProjectionError> {
    tokio::time::sleep(DROP_GRACE_PERIOD).await;
    for Rebuilt { model, collection, .. } in rebuilt {
        let live = CollectionName::number(model, collection.as_str()).unwrap_or(1);
        for (_, name) in store.collections(model).await?.into_iter().filter(|(number, _)| *number < live) {
            store.drop_collection(&name).await?;
        }
    }
    Ok(())
}

/// Reserves the next collection. Returns the checkpoint with the reservation, and the collection to fill.
async fn reserve_target<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
) -> Result<(Checkpoint, CollectionName), ProjectionError> {
    loop {
        let seen = store.load_or_create_checkpoint::<M>(&history.incarnation()).await?;
        let number = |name: &CollectionName| CollectionName::number(M::NAME, name.as_str()).unwrap_or(1);
        let present = store.collections(M::NAME).await?.into_iter().map(|(number, _)| number).max().unwrap_or(0);
        let taken = number(&seen.collection).max(seen.building.as_ref().map_or(0, number)).max(present);
        let target = CollectionName::numbered(M::NAME, taken + 1);
        if store.reserve_target(&seen, &target).await? {
            return Ok((Checkpoint { building: Some(target.clone()), ..seen }, target));
        }
    }
}
