//! I16: after the last fault all is well. In: an observation. Out: read models that lag, instances that are still on
//! their way or overdue, machines that do not hold what is wanted, assignments that nobody wants, consumers with work
//! left, replicas that are not well.
//!
//! The run asks this very function until nothing is left of it or its time is up, so what "well" means has one home.

use std::collections::{BTreeMap, BTreeSet};

use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::tenancy::{Instance, Progress, desired_assignments};
use dockhost_domain::wire::{Assignment, DesiredState};
use serde_json::json;

use super::containers::Held;
use super::log::Log;
use super::{Found, Invariant};
use crate::observation::Observation;

pub fn check(observation: &Observation, log: &Log, found: &mut Found) {
    models(observation, log, found);
    instances(observation, log, found);
    assignments(observation, log, found);
    consumers(observation, found);
    for (replica, health) in observation.health.iter().enumerate() {
        let lags = health["projections"].as_object().into_iter().flatten().any(|(_, model)| model["lag"] != json!(0));
        if health["status"] != json!("ok") || lags {
            found.add(Invariant::I16, format!("replica {replica} is not well: {health}"), [""; 0], []);
        }
    }
}

fn models(observation: &Observation, log: &Log, found: &mut Found) {
    use dockhost_projections::MODELS;
    use dockhost_projections::registry::ModelInfo;
    for ModelInfo { name, kind, .. } in MODELS.iter().copied() {
        let last = log.last_of(kind);
        let position = observation.models.iter().find(|model| model.name == name).map_or(0, |model| model.checkpoint);
        if position < last {
            found.add(Invariant::I16, "the read model lags", [name], [position, last]);
        }
    }
}

/// What is wanted of each machine, by the log.
fn wishes(log: &Log) -> BTreeMap<(BackendId, InstanceId), Assignment> {
    let mut wishes = BTreeMap::new();
    for (id, life) in log.instances() {
        let Some(instance) = life.last() else { continue };
        for (backend, assignment) in desired_assignments(life.user, *id, instance) {
            wishes.insert((backend, *id), assignment);
        }
    }
    wishes
}

fn instances(observation: &Observation, log: &Log, found: &mut Found) {
    let held: BTreeMap<BackendId, Held> =
        observation.machines.iter().map(|machine| (machine.backend_id, Held::of(machine))).collect();
    let mut explained: BTreeSet<(BackendId, &str)> = BTreeSet::new();
    for (id, life) in log.instances() {
        let Some((sequence, instance)) = life.states.last() else { continue };
        if let Progress::Pending { operation_kind, deadline, .. } = &instance.progress {
            let word = if *deadline < observation.at { "overdue" } else { "still on its way" };
            found.add(Invariant::I16, format!("{word} ({operation_kind:?} until {deadline})"), [id], [*sequence]);
        }
        for (backend, placement) in &instance.pending_removals {
            let what = format!("{backend} has not confirmed that placement {placement} is gone");
            found.add(Invariant::I16, what, [id], [*sequence]);
        }
        let Some(current) = &instance.current_placement else { continue };
        let container = held.get(&current.backend_id).and_then(|held| {
            held.now.iter().find(|(_, (of, placement, _))| of == id && *placement == instance.placement)
        });
        if let Some((container, _)) = container {
            explained.insert((current.backend_id, container));
        }
        if let Err(what) = as_wanted(instance, container.map(|(_, (_, _, running))| *running)) {
            found.add(Invariant::I16, what, [id], [*sequence]);
        }
    }
    for (backend, held) in &held {
        for (container, (instance, placement, _)) in &held.now {
            if !explained.contains(&(*backend, container)) {
                let what = format!("machine {backend} holds a container of placement {placement} that nobody wants");
                found.add(Invariant::I16, what, [instance], []);
            }
        }
    }
}

/// Whether the container (running or not, or none) is what a settled instance says it is.
fn as_wanted(instance: &Instance, running: Option<bool>) -> Result<(), String> {
    if instance.progress != Progress::Stable {
        return Ok(());
    }
    match (instance.desired, running) {
        (DesiredState::Running, Some(true)) | (DesiredState::Stopped, Some(false)) => Ok(()),
        (wanted, is) => Err(format!("settled as {wanted:?}, and its container's running is {is:?}")),
    }
}

fn assignments(observation: &Observation, log: &Log, found: &mut Found) {
    let mut wishes = wishes(log);
    for assignment in &observation.assignments {
        let about = [assignment.instance_id.to_string(), assignment.backend_id.to_string()];
        match wishes.remove(&(assignment.backend_id, assignment.instance_id)) {
            Some(wish) if json!(wish) == assignment.body => {}
            Some(wish) => {
                let what = format!("the assignment is {}, wanted is {}", assignment.body, json!(wish));
                found.add(Invariant::I16, what, about, []);
            }
            None => {
                found.add(Invariant::I16, format!("nobody wants the assignment {}", assignment.body), about, []);
            }
        }
    }
    for ((backend, instance), wish) in wishes {
        let what = format!("the assignment is missing: {}", json!(wish));
        found.add(Invariant::I16, what, [instance.to_string(), backend.to_string()], []);
    }
}

/// A settled timer may stay in its stream, as a crash may leave it there; that it was heard, its consumer says.
fn consumers(observation: &Observation, found: &mut Found) {
    for consumer in &observation.consumers {
        if consumer.pending > 0 || consumer.unacknowledged > 0 {
            let what = format!("{} messages wait, {} are open", consumer.pending, consumer.unacknowledged);
            found.add(Invariant::I16, what, [format!("{} of {}", consumer.name, consumer.stream)], []);
        }
    }
    if observation.reports > 0 {
        found.add(Invariant::I16, format!("{} reports wait", observation.reports), [""; 0], []);
    }
}
