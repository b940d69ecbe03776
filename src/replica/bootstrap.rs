//! Bootstrap: fills the fleet when a replica starts, without reading the whole log.
//!
//! Reads the backend events, the current assignments, and the tenancy events that the dispatcher has not processed yet.
//! The assignments summarise all earlier tenancy events. After an import there are none, and every tenancy event is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use dockhost_projections::{History, LogEntry, MODELS};
use futures::TryStreamExt;

use super::follower::Follower;
use crate::broker::assignments::Assignments;
use crate::common::error::Cause;
use crate::event_log::history::LogHistory;
use crate::event_log::{EventLog, Filter};

/// Fills the fleet. `dispatched` is the last sequence that the dispatcher has processed, read before this call.
/// Returns the sequence to follow the log from and the last sequence of each aggregate kind. That start is read before
/// the assignments are listed, so no placement is missed. Idempotent.
///
/// # Errors
/// When the log or the assignments can't be read.
pub async fn run(
    follower: &Follower,
    log: &Arc<dyn EventLog>,
    assignments: &Assignments,
    dispatched: u64,
) -> Result<(u64, BTreeMap<&'static str, u64>), Cause> {
    let history = LogHistory(Arc::clone(log));
    let end = history.end().await?;
    observe(follower, &history, "backend", 0, end).await?;
    for (backend, instance) in assignments.all().await? {
        follower.fleet().add_placement(backend, instance);
    }
    observe(follower, &history, "tenancy", dispatched, end).await?;
    let mut latest = BTreeMap::new();
    for model in MODELS {
        latest.insert(model.kind, log.end(Filter::Kind(model.kind)).await?);
    }
    Ok((end, latest))
}

async fn observe(
    follower: &Follower,
    history: &LogHistory,
    kind: &'static str,
    after: u64,
    end: u64,
) -> Result<(), Cause> {
    let mut entries = history.read(kind, after, end);
    while let Some(entry) = entries.try_next().await? {
        match entry {
            LogEntry::Event(recorded) => follower.fleet().observe(&recorded),
            LogEntry::Unreadable(unreadable) => follower.freeze(unreadable),
        }
    }
    Ok(())
}
