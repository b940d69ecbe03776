//! What a replica must know from before it began to follow: the machines and what they hold.
//!
//! In: the log's events of machines; the assignments that stand; and the events of instances that the dispatcher has not
//! made assignments of yet. Out: a follower that knows them, and where it goes on. The assignments stand for all that came
//! before, so that a start reads a few messages and not the log; after an import there are none, and all is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use dockhost_projections::Unreadable;
use futures::StreamExt;

use super::Follower;
use crate::assignments::Assignments;
use crate::event_log::{Cause, Delivery, EventLog, Filter};
use crate::positions::MODELS;

/// Makes the follower know the past. `dispatched` is up to where the log was made assignments of, asked before this is
/// called. Returns where the follower starts, which is before the assignments were listed, so that no placement falls between
/// the two, and the last event of each kind. Done twice, it is the same.
///
/// # Errors
/// When the log or the assignments can't be read.
pub async fn learn(
    follower: &Follower,
    log: &Arc<dyn EventLog>,
    assignments: &Assignments,
    dispatched: u64,
) -> Result<(u64, BTreeMap<&'static str, u64>), Cause> {
    let end = log.end(Filter::All).await?;
    observe(follower, log, Filter::Kind("backend"), 0, end).await;
    for (backend, instance) in assignments.all().await? {
        follower.machines().assigned(backend, instance);
    }
    observe(follower, log, Filter::Kind("tenancy"), dispatched, end).await;
    let mut latest = BTreeMap::new();
    for (_, kind) in MODELS {
        latest.insert(kind, log.end(Filter::Kind(kind)).await?);
    }
    Ok((end, latest))
}

async fn observe(follower: &Follower, log: &Arc<dyn EventLog>, filter: Filter, after: u64, end: u64) {
    let mut events = log.follow(after, filter);
    while let Some(delivery) = events.next().await {
        match delivery {
            Delivery::Event(recorded) if recorded.sequence <= end => follower.machines().observe(&recorded),
            // What came after `end` the follower reads itself.
            Delivery::Event(_) | Delivery::Idle => {}
            Delivery::Unreadable { sequence, subject, why } => {
                follower.freeze(Unreadable::new(subject, sequence, &why));
            }
            Delivery::CaughtUp => break,
        }
    }
}
