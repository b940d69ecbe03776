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

use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _, TryStreamExt as _};

use crate::build_reporter::BuildReporter;
use crate::comparison::Comparison;
use crate::log::{History, OnProgress};
use crate::model::ReadModel;
use crate::projector::{ProjectionError, check};
use crate::rebuild_buffer::{DOCUMENTS_IN_MEMORY, RebuildBuffer};
use crate::scan::{JobKind, ModelJob, ModelResult, Scanned, run_jobs};
use crate::store::{BuildStatus, Checkpoint, CollectionName, DROP_GRACE_PERIOD, MongoStore};
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
    run_jobs::<Rebuilds>(store, history, only, on_progress).await
}

struct Rebuilds;

impl JobKind for Rebuilds {
    type Output = Rebuilt;

    fn start<'a, M: ReadModel>(
        store: &'a MongoStore,
        history: &'a dyn History,
    ) -> BoxFuture<'a, Result<Box<dyn ModelJob<Output = Rebuilt>>, ProjectionError>> {
        let started = RebuildJob::<M>::start(store, history, DOCUMENTS_IN_MEMORY);
        started.map_ok(|job| Box::new(job) as _).boxed()
    }
}

/// How a rebuild reserves its collection.
#[derive(Clone, Copy)]
pub(crate) enum Reservation<'a> {
    /// In any case: it overtakes another rebuild.
    Always,
    /// Unless another process has reserved or reported since it read this checkpoint.
    IfUnchanged(&'a Checkpoint),
}

pub(crate) struct RebuildJob<M: ReadModel> {
    store: MongoStore,
    live: Checkpoint,
    target: CollectionName,
    buffer: RebuildBuffer<M>,
    reporter: BuildReporter,
    /// Whether there are live documents of this log and fold version.
    comparable: bool,
    scan_to: u64,
}

impl<M: ReadModel> RebuildJob<M> {
    async fn start(store: &MongoStore, history: &dyn History, capacity: usize) -> Result<Self, ProjectionError> {
        let started = Self::start_with(store, history, capacity, Reservation::Always).await?;
        started.ok_or(ProjectionError::Overtaken { model: M::NAME })
    }

    /// Reserves the next collection; `None` if the reservation fails.
    pub(crate) async fn start_with(
        store: &MongoStore,
        history: &dyn History,
        capacity: usize,
        reservation: Reservation<'_>,
    ) -> Result<Option<Self>, ProjectionError> {
        store.ping().await?;
        let Some((live, status)) = reserve_target::<M>(store, history, reservation).await? else { return Ok(None) };
        let end = checked_end::<M>(history, &live).await?;
        let comparable = live.sequence > 0 && check::<M>(&live, &history.incarnation()).is_ok();
        let scan_to = if comparable { live.sequence } else { end };
        let target = status.collection.clone();
        let buffer = RebuildBuffer::new(store, target.clone(), capacity);
        let reporter = BuildReporter::start(store.clone(), M::NAME, status, buffer.progress());
        Ok(Some(Self { store: store.clone(), live, target, buffer, reporter, comparable, scan_to }))
    }

    /// Does the rest of the steps.
    pub(crate) async fn rebuild(
        self,
        history: &dyn History,
        on_progress: OnProgress<'_>,
    ) -> Result<Rebuilt, ProjectionError> {
        let Self { store, live, target, mut buffer, mut reporter, comparable, .. } = self;
        let prepared = tokio::select! {
            prepared = prepare(&store, history, (&live, comparable), (&target, &mut buffer), on_progress) => prepared,
            () = reporter.overtaken() => Err(ProjectionError::Overtaken { model: M::NAME }),
        };
        // A report during the switch could take the switch for another rebuild.
        drop(reporter);
        let rebuilt = match prepared {
            Ok(before) => switch(&store, history, live, (&target, &mut buffer), (before, on_progress)).await,
            Err(error) => Err(error),
        };
        if rebuilt.is_err()
            && let Ok(Some(now)) = store.checkpoint::<M>().await
            && now.building.as_ref() == Some(&target)
        {
            // If this fails, the reservation expires.
            let _ = store.cancel_build(&now).await;
        }
        rebuilt
    }
}

/// Compares the live documents, and writes the new ones as of the log's end.
async fn prepare<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    (live, comparable): (&Checkpoint, bool),
    (target, buffer): (&CollectionName, &mut RebuildBuffer<M>),
    on_progress: OnProgress<'_>,
) -> Result<Option<Comparison>, ProjectionError> {
    let before = if comparable {
        Some(compare_with_log(store, history, buffer, live.clone(), on_progress).await?)
    } else {
        None
    };
    let to = checked_end::<M>(history, live).await?;
    buffer.fold_to(history, to, on_progress).await?;
    buffer.write().await?;
    store.ensure_indexes::<M>(target).await?;
    buffer.stored().try_for_each(|_| std::future::ready(Ok(()))).await?;
    #[cfg(feature = "testing")]
    tokio::time::sleep(crate::store::next_fold::delay_before_switch()).await;
    Ok(before)
}

/// Switches, and catches up as long as the live documents are further.
async fn switch<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    mut live: Checkpoint,
    (target, buffer): (&CollectionName, &mut RebuildBuffer<M>),
    (before, on_progress): (Option<Comparison>, OnProgress<'_>),
) -> Result<Rebuilt, ProjectionError> {
    loop {
        let next = next_checkpoint(history, &live, target, buffer);
        if store.switch(&live, &next).await? {
            break;
        }
        let Some(now) = store.checkpoint::<M>().await? else {
            return Err(ProjectionError::Overtaken { model: M::NAME });
        };
        // The driver repeats an update whose reply was lost, and the second one finds nothing to update.
        if now.collection == *target {
            break;
        }
        if now.building.as_ref() != Some(target) {
            return Err(ProjectionError::Overtaken { model: M::NAME });
        }
        let to = checked_end::<M>(history, &now).await?;
        buffer.fold_to(history, to, on_progress).await?;
        buffer.write().await?;
        // The quarantine may have changed too; the next switch must expect the new one.
        live = now;
    }
    Ok(Rebuilt {
        model: M::NAME,
        before,
        collection: target.clone(),
        documents: buffer.len(),
        position: buffer.position(),
        quarantined: buffer.quarantine().len(),
        old: live.collection,
    })
}

/// The checkpoint after the switch.
fn next_checkpoint<M: ReadModel>(
    history: &dyn History,
    live: &Checkpoint,
    target: &CollectionName,
    buffer: &RebuildBuffer<M>,
) -> Checkpoint {
    let (incarnation, quarantine) = (history.incarnation(), buffer.quarantine().clone());
    let mut released = Vec::new();
    if live.incarnation == incarnation {
        let no_longer = live.quarantine.entries().filter(|entry| quarantine.get(&entry.subject).is_none());
        released.extend(live.released.iter().cloned().chain(no_longer.map(|entry| entry.subject.clone())));
        released.sort_unstable();
        released.dedup();
    }
    Checkpoint {
        model: M::NAME.to_owned(),
        incarnation,
        sequence: buffer.position(),
        fold_version: M::fold_version(),
        collection: target.clone(),
        building: None,
        build: None,
        last_reserved: Some(target.clone()),
        released,
        quarantine: quarantine.replacing(&live.quarantine),
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
    crate::views::ensure_views(store).await?;
    tokio::time::sleep(DROP_GRACE_PERIOD).await;
    for Rebuilt { model, collection, .. } in rebuilt {
        let live = CollectionName::number(model, collection.as_str()).unwrap_or(0);
        for (_, name) in store.collections(model).await?.into_iter().filter(|(number, _)| *number < live) {
            store.drop_collection(&name).await?;
        }
    }
    Ok(())
}

/// Reserves the next collection. Returns the checkpoint with the reservation, and the first report; `None` if another
/// process has reserved or reported since.
async fn reserve_target<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    reservation: Reservation<'_>,
) -> Result<Option<(Checkpoint, BuildStatus)>, ProjectionError> {
    loop {
        let (seen, only_if_silent) = match reservation {
            Reservation::Always => (store.load_or_create_checkpoint::<M>(&history.incarnation()).await?, false),
            Reservation::IfUnchanged(seen) => (seen.clone(), true),
        };
        let number = |name: &CollectionName| CollectionName::number(M::NAME, name.as_str()).unwrap_or(0);
        let present = store.collections(M::NAME).await?.into_iter().map(|(number, _)| number);
        let named = [Some(&seen.collection), seen.building.as_ref(), seen.last_reserved.as_ref()];
        let taken = present.chain(named.into_iter().flatten().map(number)).max().unwrap_or(0);
        let collection = CollectionName::numbered(M::NAME, taken + 1);
        let status = BuildStatus { collection, fold_version: M::fold_version(), reports: 0, done: 0, total: 0 };
        if store.reserve_target(&seen, &status, only_if_silent).await? {
            let (building, build) = (Some(status.collection.clone()), Some(status.clone()));
            let last_reserved = building.clone();
            return Ok(Some((Checkpoint { building, build, last_reserved, ..seen }, status)));
        }
        if only_if_silent {
            return Ok(None);
        }
    }
}
