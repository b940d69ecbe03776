//! Trying an aggregate again that was held back: what could not be folded then may be by this program.
//!
//! In: the aggregate's events from the one that held it on. Out: its documents with all of them in, and then, in one
//! conditional update, a checkpoint that no longer holds it; or the event that still can't be folded.
//!
//! How this is sound beside a live projector, which skips the aggregate all the while: the log's end is asked first,
//! and the aggregate is folded up to there. The checkpoint is changed only if it is not beyond that end, and still
//! lists what it listed: then nothing of the aggregate was skipped that isn't folded. Otherwise the rest is folded too,
//! and it is tried again. The projector finds itself superseded at its next checkpoint and opens anew.

use std::collections::BTreeSet;

use dockhost_domain::subject::AggregateId;
use futures::{StreamExt, TryStreamExt};

use crate::history::History;
use crate::model::{Folded, IdOf, ReadModel};
use crate::projector::{ProjectionError, check};
use crate::quarantine::{LogEntry, LogItem, Quarantine, Unreadable, keys};
use crate::store::{Checkpoint, CollectionName, MongoStore};
use crate::verify::checked_end;

/// Events folded at once.
const EVENTS_PER_FOLD: usize = 500;

/// What became of an aggregate that was tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// It is held no more.
    Released,
    /// This event can't be folded by this program either.
    StillUnreadable(Unreadable),
    /// It was not held, or somebody else released it.
    NotQuarantined,
}

/// Tries one aggregate of a model again. May run beside the projector, and beside others that try the same.
///
/// # Errors
/// [`ProjectionError::ForeignLog`], `FoldChanged`, `AheadOfLog`, `Store`, `History`; the aggregate is still held then.
pub async fn release<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    subject: &str,
) -> Result<Release, ProjectionError> {
    // Where its documents are whole, and up to which sequence.
    let mut done: Option<(CollectionName, u64)> = None;
    loop {
        let Some(now) = store.checkpoint::<M>().await? else { return Ok(Release::NotQuarantined) };
        check::<M>(&now, &history.incarnation())?;
        let Some(held) = now.quarantine.get(subject) else { return Ok(Release::NotQuarantined) };
        // Of a subject that is none of ours there are no documents, and it stays unreadable.
        let Ok(aggregate) = subject.parse::<AggregateId>() else { return Ok(Release::StillUnreadable(held.clone())) };
        let end = checked_end::<M>(history, &now).await?;
        let after = match &done {
            Some((collection, to)) if *collection == now.collection => *to,
            _ => held.sequence.saturating_sub(1),
        };
        match catch_up::<M>(store, history, &now.collection, (aggregate, after, end)).await? {
            None => {
                if store.update_quarantine(&now, end, &now.quarantine.without(subject)).await? {
                    return Ok(Release::Released);
                }
                done = Some((now.collection, end));
            }
            Some(still) if still == *held => return Ok(Release::StillUnreadable(still)),
            // Further than before, or for another reason.
            Some(still) => {
                let mut next = now.quarantine.without(subject);
                next.add(still.clone()).map_err(|_| ProjectionError::QuarantineFull { model: M::NAME })?;
                if store.update_quarantine(&now, end, &next.replacing(&now.quarantine)).await? {
                    return Ok(Release::StillUnreadable(still));
                }
            }
        }
    }
}

/// Folds an aggregate's events in that its documents lack; returns the first one that can't be.
async fn catch_up<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    collection: &CollectionName,
    (aggregate, after, to): (AggregateId, u64, u64),
) -> Result<Option<Unreadable>, ProjectionError> {
    let mut batches = history.read_one(aggregate, after, to).try_chunks(EVENTS_PER_FOLD);
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(|error| ProjectionError::History(error.1))?;
        if let Some(still) = fold_in::<M>(store, collection, &batch).await? {
            return Ok(Some(still));
        }
    }
    Ok(None)
}

async fn fold_in<M: ReadModel>(
    store: &MongoStore,
    collection: &CollectionName,
    batch: &[LogEntry],
) -> Result<Option<Unreadable>, ProjectionError> {
    let ids: BTreeSet<IdOf<M>> = batch.iter().flat_map(|entry| keys::<M>(entry)).collect();
    let mut folded = Folded::<M>::from_documents(store.many_in(collection, ids).await?);
    let mut held = Quarantine::default();
    for entry in batch {
        let one_at_most = held.fold(&mut folded, entry);
        debug_assert!(one_at_most.is_ok(), "one aggregate is not too many: event {}", entry.sequence());
    }
    store.write(collection, folded.take_changed()).await?;
    Ok(held.entries().next().cloned())
}

/// What a model holds back; nothing before its first projector.
///
/// # Errors
/// [`ProjectionError::Store`].
pub async fn quarantined<M: ReadModel>(store: &MongoStore) -> Result<Vec<Unreadable>, ProjectionError> {
    let checkpoint: Option<Checkpoint> = store.checkpoint::<M>().await?;
    Ok(checkpoint.map(|now| now.quarantine.entries().cloned().collect()).unwrap_or_default())
}
