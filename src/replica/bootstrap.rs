//! What a replica must know from before it began to follow: the machines and what they hold.
//!
//! In: the log's events of machines; the assignments that stand; and the events of instances that the dispatcher has not
//! made assignments of yet. Out: a follower that knows them, and where it goes on. The assignments stand for all that came
//! before, so that a start reads a few messages and not the log; after an import there are none, and all is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use dockhost_projections::{History, LogEntry};
use futures::TryStreamExt;

use super::follower::Follower;
use crate::broker::assignments::Assignments;
use crate::common::error::Cause;
use crate::event_log::history::LogHistory;
use crate::event_log::{EventLog, Filter};
use crate::replica::projection_progress::MODELS;

/// Makes the follower know the past. `dispatched` is up to where the log was made assignments of, asked before this is
/// called. Returns where the follower starts, which is before the assignments were listed, so that no placement falls between
/// the two, and the last event of each kind. Done twice, it is the same.
///
/// # Errors
/// When the log or the assignments can't be read.
pub async fn run(
    follower: &Follower,
    log: &Arc<dyn EventLog>,
    assignments: &Assignments,
    dispatched: u64,
) -> Result<(u64, BTreeMap<&'static str, u64>), Cause> {
    let past = LogHistory(Arc::clone(log));
    let end = past.end().await?;
    observe(follower, &past, "backend", 0, end).await?;
    for (backend, instance) in assignments.all().await? {
        follower.fleet().add_placement(backend, instance);
    }
    observe(follower, &past, "tenancy", dispatched, end).await?;
    let mut latest = BTreeMap::new();
    for (_, kind) in MODELS {
        latest.insert(kind, log.end(Filter::Kind(kind)).await?);
    }
    Ok((end, latest))
}

async fn observe(
    follower: &Follower,
    past: &LogHistory,
    kind: &'static str,
    after: u64,
    end: u64,
) -> Result<(), Cause> {
    let mut entries = past.read(kind, after, end);
    while let Some(entry) = entries.try_next().await? {
        match entry {
            LogEntry::Event(recorded) => follower.fleet().observe(&recorded),
            LogEntry::Unreadable(unreadable) => follower.freeze(unreadable),
        }
    }
    Ok(())
}
