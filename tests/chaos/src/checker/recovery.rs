//! I16: after the last fault the system becomes healthy: no lag, nothing pending or overdue, containers and assignments as
//! desired, no drain late, no messages left at a consumer, every replica healthy.
//!
//! A run uses the same function to wait until the system is healthy.

use std::collections::{BTreeMap, BTreeSet};

use dockhost::broker::consumer::durable::saves_position_of;
use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::tenancy::{Instance, Progress, desired_assignments};
use dockhost_domain::wire::{Assignment, DesiredState};
use serde_json::json;

use super::containers::Containers;
use super::drains;
use super::log::Log;
use super::{Invariant, Violations};
use crate::observation::Observation;

pub fn check(observation: &Observation, log: &Log, violations: &mut Violations) {
    models(observation, log, violations);
    instances(observation, log, violations);
    drains::pending(log, observation.at, violations);
    assignments(observation, log, violations);
    consumers(observation, violations);
    for (replica, health) in observation.health.iter().enumerate() {
        let lags = health["projections"].as_object().into_iter().flatten().any(|(_, model)| model["lag"] != json!(0));
        if health["status"] != json!("healthy") || lags {
            violations.add(Invariant::I16, format!("replica {replica} is not healthy: {health}"), [""; 0], []);
        }
    }
}

fn models(observation: &Observation, log: &Log, violations: &mut Violations) {
    use dockhost_projections::MODELS;
    use dockhost_projections::registry::ModelInfo;
    for ModelInfo { name, kind, .. } in MODELS.iter().copied() {
        let last = log.last_of(kind);
        let position = observation.models.iter().find(|model| model.name == name).map_or(0, |model| model.checkpoint);
        if position < last {
            violations.add(Invariant::I16, "the read model lags", [name], [position, last]);
        }
    }
}

/// The desired assignments according to the log.
fn desired(log: &Log) -> BTreeMap<(BackendId, InstanceId), Assignment> {
    let mut desired = BTreeMap::new();
    for (id, timeline) in log.instances() {
        let Some(instance) = timeline.last() else { continue };
        for (backend, assignment) in desired_assignments(timeline.user, *id, instance) {
            desired.insert((backend, *id), assignment);
        }
    }
    desired
}

fn instances(observation: &Observation, log: &Log, violations: &mut Violations) {
    let containers: BTreeMap<BackendId, Containers> =
        observation.machines.iter().map(|machine| (machine.backend_id, Containers::of(machine))).collect();
    let mut desired_containers: BTreeSet<(BackendId, &str)> = BTreeSet::new();
    for (id, timeline) in log.instances() {
        let Some((sequence, instance)) = timeline.states.last() else { continue };
        if let Progress::Pending { operation_kind, deadline, .. } = &instance.progress {
            let state = if *deadline < observation.at { "overdue" } else { "still pending" };
            violations.add(Invariant::I16, format!("{state} ({operation_kind:?} until {deadline})"), [id], [*sequence]);
        }
        for (backend, placement) in &instance.pending_removals {
            let what = format!("{backend} has not confirmed that placement {placement} is removed");
            violations.add(Invariant::I16, what, [id], [*sequence]);
        }
        let Some(current) = &instance.current_placement else { continue };
        let container = containers.get(&current.backend_id).and_then(|containers| {
            containers.current.iter().find(|(_, (of, placement, _))| of == id && *placement == instance.placement)
        });
        if let Some((container, _)) = container {
            desired_containers.insert((current.backend_id, container));
        }
        if let Err(what) = check_desired_state(instance, container.map(|(_, (_, _, running))| *running)) {
            violations.add(Invariant::I16, what, [id], [*sequence]);
        }
    }
    for (backend, containers) in &containers {
        for (container, (instance, placement, _)) in &containers.current {
            if !desired_containers.contains(&(*backend, container)) {
                let what = format!("machine {backend} has a container of placement {placement}, which is not desired");
                violations.add(Invariant::I16, what, [instance], []);
            }
        }
    }
}

/// Checks the container of a stable instance; `running` is `None` without a container.
fn check_desired_state(instance: &Instance, running: Option<bool>) -> Result<(), String> {
    if instance.progress != Progress::Stable {
        return Ok(());
    }
    match (instance.desired, running) {
        (DesiredState::Running, Some(true)) | (DesiredState::Stopped, Some(false)) => Ok(()),
        (desired, running) => {
            Err(format!("stable and desired {desired:?}, but its container's running is {running:?}"))
        }
    }
}

fn assignments(observation: &Observation, log: &Log, violations: &mut Violations) {
    let mut desired = desired(log);
    for stored in &observation.assignments {
        let objects = [stored.instance_id.to_string(), stored.backend_id.to_string()];
        match desired.remove(&(stored.backend_id, stored.instance_id)) {
            Some(assignment) if json!(assignment) == stored.body => {}
            Some(assignment) => {
                let what = format!("the assignment is {}, desired is {}", stored.body, json!(assignment));
                violations.add(Invariant::I16, what, objects, []);
            }
            None => {
                violations.add(Invariant::I16, format!("the assignment is not desired: {}", stored.body), objects, []);
            }
        }
    }
    for ((backend, instance), assignment) in desired {
        let what = format!("the assignment is missing: {}", json!(assignment));
        violations.add(Invariant::I16, what, [instance.to_string(), backend.to_string()], []);
    }
}

/// Checks consumers instead of the stream TIMERS, because a crash may leave a processed timer in the stream.
fn consumers(observation: &Observation, violations: &mut Violations) {
    let exists = |stream: &str, name: &str| {
        observation.consumers.iter().any(|consumer| consumer.stream == stream && consumer.name == name)
    };
    for consumer in &observation.consumers {
        // A saved position that is not needed any more.
        if saves_position_of(&consumer.name).is_some_and(|reader| exists(&consumer.stream, reader)) {
            continue;
        }
        if consumer.pending > 0 || consumer.unacknowledged > 0 {
            let what = format!("{} messages are pending, {} unacknowledged", consumer.pending, consumer.unacknowledged);
            violations.add(Invariant::I16, what, [format!("{} of {}", consumer.name, consumer.stream)], []);
        }
    }
    if observation.reports > 0 {
        violations.add(Invariant::I16, format!("{} reports are not processed", observation.reports), [""; 0], []);
    }
}
