//! The assignments that an instance needs: one per backend that has, should have or may still have a container of it.

use std::collections::BTreeMap;

use super::instance::Instance;
use crate::ids::{BackendId, InstanceId, UserId};
use crate::ssh_key::without_comment;
use crate::wire::{Assignment, AuthorizedKeys, ContainerSpec, DesiredState, Phase, RestartPolicy};

/// Whether its container was last seen running, and that in the current generation.
fn has_run(instance: &Instance) -> bool {
    instance
        .last_observation()
        .is_some_and(|last| last.generation == instance.generation && last.observation.phase == Phase::Running)
}

/// The assignments of an instance, by backend.
#[must_use]
pub fn desired_assignments(
    user_id: UserId,
    instance_id: InstanceId,
    instance: &Instance,
) -> BTreeMap<BackendId, Assignment> {
    let assignment = |placement, desired, container| Assignment {
        instance_id,
        user_id,
        placement,
        generation: instance.generation,
        desired,
        container,
    };
    let mut assignments: BTreeMap<_, _> = instance
        .pending_removals
        .iter()
        .map(|(backend, placement)| (*backend, assignment(*placement, DesiredState::Deleted, None)))
        .collect();
    if let Some(current) = &instance.current_placement {
        let container = match (instance.desired, instance.name.plain(), instance.ssh_public_key.plain()) {
            (DesiredState::Running | DesiredState::Stopped, Some(name), Some(_)) => Some(ContainerSpec {
                image: instance.image.clone(),
                hostname: name.to_string(),
                // Agents of earlier releases know only this one.
                ssh_public_key: instance.keys().next().map(without_comment).unwrap_or_default(),
                authorized_keys: instance.keys.as_ref().map(|keys| AuthorizedKeys {
                    version: keys.version,
                    keys: instance.keys().map(without_comment).collect(),
                }),
                limits: instance.limits,
                container_id: current.last_observation.as_ref().map(|last| last.observation.container_id.clone()),
                restart: instance.restart,
                has_run: instance.restart == RestartPolicy::Never && has_run(instance),
            }),
            // The user was erased, and the instances are being deleted.
            _ => None,
        };
        let desired = if container.is_some() { instance.desired } else { DesiredState::Deleted };
        assignments.insert(current.backend_id, assignment(instance.placement, desired, container));
    }
    assignments
}
