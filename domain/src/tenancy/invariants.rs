//! What every reachable state keeps. In: a state. Out: nothing, or the sentence that is broken. Property tests hold
//! all interleavings against it, and a checker can hold a real log against it.

use std::collections::BTreeSet;

use super::instance::{Instance, Progress};
use super::{Outcome, Tenancy};
use crate::wire::DesiredState;

/// Checks a state.
///
/// # Errors
/// The first sentence that does not hold.
pub fn check_invariants(state: &Tenancy) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for (id, instance) in state.all() {
        check(instance).map_err(|broken| format!("instance {id}: {broken}"))?;
        if !instance.is_deleted()
            && let Some(name) = instance.name.plain()
            && !names.insert(name)
        {
            return Err(format!("instance {id}: its name is another's too"));
        }
        if let Progress::Pending { operation: Some(operation), .. } = &instance.progress {
            let outcome = state.operation(*operation).map(|operation| &operation.outcome);
            if outcome != Some(&Outcome::Pending) {
                return Err(format!("instance {id}: it works on operation {operation}, which is {outcome:?}"));
            }
        }
    }
    let works_on = |instance: &Instance, wanted| match &instance.progress {
        Progress::Pending { operation, .. } => *operation == Some(wanted),
        _ => false,
    };
    for (id, operation) in &state.operations {
        let worked_on = state.instance(operation.instance_id).is_some_and(|instance| works_on(instance, *id));
        if operation.outcome == Outcome::Pending && !worked_on {
            return Err(format!("operation {id} is pending and nobody works on it"));
        }
    }
    Ok(())
}

fn check(instance: &Instance) -> Result<(), String> {
    let broken = |what: &str| Err(format!("{what} ({instance:?})"));
    if instance.generation == 0 || instance.placement == 0 {
        return broken("generation and placement start at 1");
    }
    if let Some(seen) = instance.last_observation()
        && seen.generation > instance.generation
    {
        return broken("a generation was seen that nobody asked for");
    }
    if let Some(site) = &instance.current_placement
        && instance.pending_removals.contains_key(&site.backend_id)
    {
        return broken("a machine holds the placement and has it retired");
    }
    if instance.pending_removals.values().any(|placement| *placement > instance.placement) {
        return broken("a placement was retired that never was");
    }
    match &instance.progress {
        Progress::Pending { .. } if instance.current_placement.is_none() => broken("it waits for no machine"),
        Progress::Stable | Progress::Failed { .. }
            if instance.current_placement.as_ref().is_some_and(|site| site.last_observation.is_none()) =>
        {
            broken("its placement has no container, and nobody works on it")
        }
        Progress::Stable if instance.desired == DesiredState::Deleted => broken("settled is not deleted"),
        Progress::Stable
            if !instance
                .last_observation()
                .is_some_and(|s| instance.satisfied_by(s.generation, s.observation.phase)) =>
        {
            broken("settled without having been seen as wanted")
        }
        Progress::Deleted { .. }
            if instance.desired != DesiredState::Deleted || instance.current_placement.is_some() =>
        {
            broken("deleted, yet wanted or placed")
        }
        _ => Ok(()),
    }
}
