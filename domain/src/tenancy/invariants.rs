//! The invariants of every reachable state. Property tests check them for all interleavings, and the chaos checker for
//! a real log.

use std::collections::BTreeSet;

use super::instance::Instance;
use super::progress::Progress;
use super::{Outcome, Tenancy};
use crate::wire::DesiredState;

/// Checks a state.
///
/// # Errors
/// The first invariant that is broken.
pub fn check_invariants(state: &Tenancy) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for (id, instance) in state.all() {
        check_instance(instance).map_err(|broken| format!("instance {id}: {broken}"))?;
        if !instance.is_deleted()
            && let Some(name) = instance.name.plain()
            && !names.insert(name)
        {
            return Err(format!("instance {id}: another instance has the same name"));
        }
        if let Progress::Pending { operation: Some(operation), .. } = &instance.progress {
            let outcome = state.operation(*operation).map(|operation| &operation.outcome);
            if outcome != Some(&Outcome::Pending) {
                return Err(format!("instance {id}: its pending operation {operation} is {outcome:?}"));
            }
        }
    }
    let is_pending_on = |instance: &Instance, id| match &instance.progress {
        Progress::Pending { operation, .. } => *operation == Some(id),
        _ => false,
    };
    for (id, operation) in &state.operations {
        let pending = state.instance(operation.instance_id).is_some_and(|instance| is_pending_on(instance, *id));
        if operation.outcome == Outcome::Pending && !pending {
            return Err(format!("operation {id} is pending, but no instance is pending on it"));
        }
    }
    Ok(())
}

fn check_instance(instance: &Instance) -> Result<(), String> {
    let broken = |what: &str| Err(format!("{what} ({instance:?})"));
    if instance.generation == 0 || instance.placement == 0 {
        return broken("generation and placement start at 1");
    }
    if instance.last_observation().is_some_and(|last| last.generation > instance.generation) {
        return broken("the observed generation is higher than the current one");
    }
    if let Some(current) = &instance.current_placement
        && instance.pending_removals.contains_key(&current.backend_id)
    {
        return broken("the backend of the current placement has a pending removal");
    }
    if instance.pending_removals.values().any(|placement| *placement > instance.placement) {
        return broken("the placement of a pending removal is higher than the current one");
    }
    match &instance.progress {
        Progress::Pending { .. } if instance.current_placement.is_none() => broken("pending without a placement"),
        Progress::Stable | Progress::Failed { .. }
            if instance.current_placement.as_ref().is_some_and(|current| current.last_observation.is_none()) =>
        {
            broken("not pending, and its placement has no container")
        }
        Progress::Stable if instance.desired == DesiredState::Deleted => broken("stable while to be deleted"),
        Progress::Stable
            if !instance
                .last_observation()
                .is_some_and(|last| instance.satisfied_by(last.generation, last.observation.phase)) =>
        {
            broken("stable, but not observed as desired")
        }
        Progress::Deleted { .. }
            if instance.desired != DesiredState::Deleted || instance.current_placement.is_some() =>
        {
            broken("deleted, but desired or placed")
        }
        _ => Ok(()),
    }
}
