//! Bootstrap: fills the fleet when a replica starts, without reading the whole log.
//!
//! Reads the backend events, the current assignments, and the tenancy events that the dispatcher has not processed yet.
//! The assignments summarise all earlier tenancy events. After an import there are none, and every tenancy event is read.
//!
//! An assignment `deleted` summarises an event only if the tenancy waits for the removal. Otherwise it tells a backend to
//! remove a container that no event knows; it ends without an event, so no replica could free the place that it took.

use std::collections::BTreeMap;
use std::sync::Arc;

use dockhost_domain::ids::BackendId;
use dockhost_domain::room::Resources;
use dockhost_domain::tenancy::{Instance, Tenancy, desired_assignments};
use dockhost_domain::wire::{Assignment, DesiredState};
use dockhost_projections::{History, LogEntry, MODELS};
use futures::{StreamExt, TryStreamExt};

use super::follower::Follower;
use crate::broker::assignments::Assignments;
use crate::common::error::Cause;
use crate::event_log::history::LogHistory;
use crate::event_log::{EventLog, Filter, LogError};

/// Tenancies loaded at once.
const MAX_CONCURRENT_LOADS: usize = 16;

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
    add_placements(follower, assignments).await?;
    observe(follower, &history, "tenancy", dispatched, end).await?;
    let mut latest = BTreeMap::new();
    for model in MODELS {
        latest.insert(model.kind, log.end(Filter::Kind(model.kind)).await?);
    }
    Ok((end, latest))
}

/// Adds the placements that the assignments show.
async fn add_placements(follower: &Follower, assignments: &Assignments) -> Result<(), Cause> {
    let mut unread = assignments.all().await?;
    let mut removals = Vec::new();
    {
        let mut contents = std::pin::pin!(assignments.contents());
        while let Some((backend, assignment)) = contents.try_next().await? {
            if unread.remove(&(backend, assignment.instance_id)) {
                if assignment.desired == DesiredState::Deleted {
                    removals.push((backend, assignment));
                } else {
                    let Assignment { instance_id, user_id, container, .. } = assignment;
                    let resources = container.map(|spec| spec.limits.into());
                    follower.fleet().add_placement(backend, instance_id, Some(user_id), resources);
                }
            }
        }
    }
    // Unreadable, or not yet on the node that served the others: if in doubt, it takes a place.
    for (backend, instance) in unread {
        let owner = assignments.current(backend, instance).await?.assignment.map(|assignment| assignment.user_id);
        follower.fleet().add_placement(backend, instance, owner, None);
    }
    let expected = futures::stream::iter(removals).map(async |(backend, assignment)| {
        let expected = expected(follower, backend, &assignment).await?;
        Ok::<_, Cause>(expected.map(|resources| (backend, assignment, resources)))
    });
    let mut expected = expected.buffer_unordered(MAX_CONCURRENT_LOADS);
    while let Some(removal) = expected.try_next().await? {
        if let Some((backend, Assignment { instance_id, user_id, .. }, resources)) = removal {
            follower.fleet().add_placement(backend, instance_id, Some(user_id), resources);
        }
    }
    Ok(())
}

/// What the instance may use, if that is known, where the tenancy waits for this removal, so that an event will end it.
async fn expected(
    follower: &Follower,
    backend: BackendId,
    assignment: &Assignment,
) -> Result<Option<Option<Resources>>, Cause> {
    let instance_id = assignment.instance_id;
    match follower.executor().state::<Tenancy>(assignment.user_id).await {
        Ok(tenancy) => {
            let is_expected = |instance: &&Instance| {
                desired_assignments(assignment.user_id, instance_id, instance).contains_key(&backend)
            };
            let instance = tenancy.state.instance(instance_id).filter(is_expected);
            Ok(instance.map(|instance| Some(instance.limits.into())))
        }
        Err(LogError::Frozen { .. }) => Ok(Some(None)),
        Err(error) => Err(error.into()),
    }
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
