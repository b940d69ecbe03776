//! Retries a quarantined aggregate, which this program may be able to fold although an earlier one was not.
//!
//! A retry runs beside the live projector, which skips the aggregate meanwhile. It reads the log's end first, folds the
//! aggregate up to there, and removes it from the quarantine in one conditional update: only if the checkpoint is not
//! beyond that end and the quarantine is unchanged. Then nothing was skipped that isn't folded. Otherwise it folds the
//! rest and tries again. The projector finds its checkpoint superseded and reopens.

use std::collections::BTreeSet;

use dockhost_domain::subject::AggregateId;
use futures::{StreamExt, TryStreamExt};

use crate::log::{History, LogEntry};
use crate::model::{Folded, ReadModel};
use crate::projector::{ProjectionError, check};
use crate::store::{Checkpoint, CollectionName, IdOf, MongoStore, Quarantine, Unreadable};
use crate::verify::checked_end;

/// Entries that are folded at once.
const ENTRIES_PER_FOLD: usize = 500;

/// The result of a retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// The aggregate is no longer quarantined.
    Released,
    /// This program can't fold this event either.
    StillUnreadable(Unreadable),
    /// The aggregate was not quarantined, or another process released it.
    NotQuarantined,
}

/// Retries one aggregate of a model. It may run beside the projector and other retries.
///
/// # Errors
/// [`ProjectionError::ForeignLog`], `FoldChanged`, `AheadOfLog`, `Store`, `History`; then the aggregate is still
/// quarantined.
pub async fn release<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    subject: &str,
) -> Result<Release, ProjectionError> {
    // The collection in which its documents are complete, and up to which sequence.
    let mut done: Option<(CollectionName, u64)> = None;
    loop {
        let Some(now) = store.checkpoint::<M>().await? else { return Ok(Release::NotQuarantined) };
        check::<M>(&now, &history.incarnation())?;
        let Some(first) = now.quarantine.get(subject) else { return Ok(Release::NotQuarantined) };
        // A subject that names no aggregate has no documents and stays unreadable.
        let Ok(aggregate) = subject.parse::<AggregateId>() else { return Ok(Release::StillUnreadable(first.clone())) };
        let end = checked_end::<M>(history, &now).await?;
        let after = match &done {
            Some((collection, to)) if *collection == now.collection => *to,
            _ => first.sequence.saturating_sub(1),
        };
        let caught_up = match catch_up::<M>(store, history, &now, (aggregate, after, end)).await {
            // Another retry has changed the quarantine, or the documents were replaced.
            Err(ProjectionError::Superseded { .. }) => {
                done = None;
                continue;
            }
            caught_up => caught_up?,
        };
        match caught_up {
            None => {
                if store.update_quarantine(&now, end, &now.quarantine.without(subject), Some(subject)).await? {
                    return Ok(Release::Released);
                }
                done = Some((now.collection, end));
            }
            Some(still) if still == *first => return Ok(Release::StillUnreadable(still)),
            // A later event, or another reason.
            Some(still) => {
                let mut next = now.quarantine.without(subject);
                next.add(still.clone()).map_err(|_| ProjectionError::QuarantineFull { model: M::NAME })?;
                if store.update_quarantine(&now, end, &next.replacing(&now.quarantine), None).await? {
                    return Ok(Release::StillUnreadable(still));
                }
            }
        }
    }
}

/// Folds the events that an aggregate's documents lack; returns the first one that can't be folded.
async fn catch_up<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    now: &Checkpoint,
    (aggregate, after, to): (AggregateId, u64, u64),
) -> Result<Option<Unreadable>, ProjectionError> {
    let mut batches = history.read_one(aggregate, after, to).try_chunks(ENTRIES_PER_FOLD);
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(|error| ProjectionError::History(error.1))?;
        if let Some(still) = fold_batch::<M>(store, now, &batch).await? {
            return Ok(Some(still));
        }
    }
    Ok(None)
}

async fn fold_batch<M: ReadModel>(
    store: &MongoStore,
    now: &Checkpoint,
    batch: &[LogEntry],
) -> Result<Option<Unreadable>, ProjectionError> {
    let ids: BTreeSet<IdOf<M>> = batch.iter().flat_map(LogEntry::keys::<M>).collect();
    let found = store.many_at::<M>(now, ids).await?;
    let mut folded = Folded::<M>::from_documents(found.ok_or(ProjectionError::Superseded { model: M::NAME })?);
    // All entries are of one aggregate, so this quarantine never gets full.
    let mut quarantine = Quarantine::default();
    for entry in batch {
        let _ = folded.fold_entry(entry, &mut quarantine);
    }
    store.write::<M>(&now.collection, folded.take_changed()).await?;
    Ok(quarantine.entries().next().cloned())
}

/// Takes the aggregates that were released and not yet taken, so that the caller re-queues them. If the caller crashes
/// after that, the next one does not get them.
///
/// # Errors
/// [`ProjectionError::Store`].
pub async fn take_released<M: ReadModel>(store: &MongoStore) -> Result<Vec<String>, ProjectionError> {
    loop {
        let Some(now) = store.checkpoint::<M>().await? else { return Ok(Vec::new()) };
        if now.released.is_empty() || store.clear_released(&now).await? {
            return Ok(now.released);
        }
    }
}

/// The quarantined aggregates of a model; none before its first projector.
///
/// # Errors
/// [`ProjectionError::Store`].
pub async fn quarantined<M: ReadModel>(store: &MongoStore) -> Result<Vec<Unreadable>, ProjectionError> {
    let checkpoint = store.checkpoint::<M>().await?;
    Ok(checkpoint.map(|now| now.quarantine.entries().cloned().collect()).unwrap_or_default())
}
