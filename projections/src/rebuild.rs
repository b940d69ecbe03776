//! Folding a model anew beside the live one, and putting it in its place.
//!
//! In: the whole log. Out: a new collection with whole documents, which the checkpoint names from one moment on. The
//! steps, each of which may be the last one without harm:
//!
//! 1. *Claim* the next number in the checkpoint. A rebuild that was claimed away can no longer switch, so two rebuilds
//!    end as one. Numbers only rise, so a collection below the live one is never live again.
//! 2. *Fold* the log up to the checkpoint, in memory as far as it fits ([`crate::rebuild_buffer`]), and compare the live
//!    documents with that (as [`crate::verify`] does).
//! 3. *Catch up* with what was recorded meanwhile, *write* the documents, read them back, check that they are the same.
//! 4. *Switch*: one conditional update of the checkpoint, refused if the live documents are further by then (catch up
//!    again). The position never goes back. The live projector finds itself superseded at its next checkpoint and opens
//!    the new collection; what it had not checkpointed, it folds again.
//! 5. *Drop* what is below the new collection ([`drop_replaced`]), once no reader can still ask it. What an interrupted rebuild
//!    leaves is below the next one's.

use futures::TryStreamExt;

use crate::comparison::Comparison;
use crate::history::{History, OnProgress};
use crate::model::ReadModel;
use crate::projector::ProjectionError;
use crate::rebuild_buffer::{DOCUMENTS_IN_MEMORY, RebuildBuffer};
use crate::store::{Checkpoint, CollectionName, DROP_GRACE_PERIOD, MongoStore};
use crate::verify::{checked_end, compare_with_log};

/// What a rebuild did.
#[derive(Debug, Clone, PartialEq)]
pub struct Rebuilt {
    /// How the old documents compared with the log; none if they were of another log.
    pub before: Option<Comparison>,
    /// Where the documents are now.
    pub collection: CollectionName,
    /// How many there are.
    pub documents: usize,
    /// Up to where they were folded when they took over.
    pub position: u64,
    /// Aggregates that are held back, because this program can't read all of their events.
    pub quarantined: usize,
    /// Where they were.
    pub old: CollectionName,
}

/// Rebuilds a model. Reads and the live projector go on meanwhile. The old documents stay until
/// [`drop_replaced`].
///
/// # Errors
/// [`ProjectionError::Overtaken`] when another rebuild of the model began later, `AheadOfLog` when the log has lost its
/// end; `BadCopy`, `Store`, `History`, `OutOfOrder`, `QuarantineFull`, `Superseded`. The live documents are untouched after
/// any of them.
pub async fn rebuild<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    on_progress: OnProgress<'_>,
) -> Result<Rebuilt, ProjectionError> {
    rebuild_within::<M>(store, history, DOCUMENTS_IN_MEMORY, on_progress).await
}

/// The same with at most so many documents in memory.
///
/// # Errors
/// As [`rebuild`].
pub async fn rebuild_within<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    capacity: usize,
    on_progress: OnProgress<'_>,
) -> Result<Rebuilt, ProjectionError> {
    store.ping().await?;
    let (mut live, target) = reserve_target::<M>(store, history).await?;
    let mut buffer = RebuildBuffer::<M>::new(store, target.clone(), capacity);
    let before = if live.incarnation == history.incarnation() {
        Some(compare_with_log(store, history, &mut buffer, live.clone(), on_progress).await?)
    } else {
        None
    };
    let mut to = checked_end::<M>(history, &live).await?.max(buffer.position());
    buffer.fold_to(history, to, on_progress).await?;
    buffer.write().await?;
    store.ensure_indexes::<M>(&target).await?;
    buffer.stored().try_for_each(|_| std::future::ready(Ok(()))).await?;

    loop {
        let next = Checkpoint {
            model: M::NAME.to_owned(),
            incarnation: history.incarnation(),
            sequence: to,
            fold_version: M::FOLD_VERSION,
            collection: target.clone(),
            building: None,
            quarantine: buffer.quarantine().clone().replacing(&live.quarantine),
        };
        if store.switch(&live, &next).await? {
            break;
        }
        let now = store.checkpoint::<M>().await?;
        let Some(now) = now.filter(|now| now.building.as_ref() == Some(&target)) else {
            return Err(ProjectionError::Overtaken { model: M::NAME });
        };
        to = checked_end::<M>(history, &now).await?;
        buffer.fold_to(history, to, on_progress).await?;
        buffer.write().await?;
        // What is held back may have changed as well, and the next switch must know.
        live = now;
    }
    Ok(Rebuilt {
        before,
        collection: target,
        documents: buffer.len(),
        position: to,
        quarantined: buffer.quarantine().len(),
        old: live.collection,
    })
}

/// Drops what a rebuild replaced, and what earlier ones left half-done, once no reader can still ask it; takes some
/// seconds.
///
/// # Errors
/// [`ProjectionError::Store`]; then it is left to the next rebuild's.
pub async fn drop_replaced<M: ReadModel>(store: &MongoStore, rebuilt: &Rebuilt) -> Result<(), ProjectionError> {
    tokio::time::sleep(DROP_GRACE_PERIOD).await;
    let live = CollectionName::number(M::NAME, rebuilt.collection.as_str()).unwrap_or(1);
    for (_, name) in store.collections::<M>().await?.into_iter().filter(|(number, _)| *number < live) {
        store.drop_collection(&name).await?;
    }
    Ok(())
}

/// Claims the next number. Returns the checkpoint as it was, with the reserve_target in it, and the collection to fill.
async fn reserve_target<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
) -> Result<(Checkpoint, CollectionName), ProjectionError> {
    loop {
        let seen = store.load_or_create_checkpoint::<M>(&history.incarnation()).await?;
        let number = |name: &CollectionName| CollectionName::number(M::NAME, name.as_str()).unwrap_or(1);
        let present = store.collections::<M>().await?.into_iter().map(|(number, _)| number).max().unwrap_or(0);
        let taken = number(&seen.collection).max(seen.building.as_ref().map_or(0, number)).max(present);
        let target = CollectionName::numbered(M::NAME, taken + 1);
        if store.reserve_target(&seen, &target).await? {
            return Ok((Checkpoint { building: Some(target.clone()), ..seen }, target));
        }
    }
}
