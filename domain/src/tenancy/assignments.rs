//! What each machine should do for one instance. In: the instance. Out: one assignment per machine that holds, should
//! hold, or may still hold a container of it; a machine that is not named has nothing to do and no assignment.

use std::collections::BTreeMap;

use super::instance::Instance;
use crate::ids::{BackendId, InstanceId, UserId};
use crate::wire::{Assignment, ContainerSpec, DesiredState};

/// The assignments of one instance, by machine.
#[must_use]
pub fn desired_assignments(
    user_id: UserId,
    instance_id: InstanceId,
    instance: &Instance,
) -> BTreeMap<BackendId, Assignment> {
    let assignment = |placement, wanted, container| Assignment {
        instance_id,
        user_id,
        placement,
        generation: instance.generation,
        desired: wanted,
        container,
    };
    let mut assignments: BTreeMap<_, _> = instance
        .pending_removals
        .iter()
        .map(|(backend, placement)| (*backend, assignment(*placement, DesiredState::Deleted, None)))
        .collect();
    if let Some(site) = &instance.current_placement {
        let container = match (instance.desired, instance.name.plain(), instance.ssh_public_key.plain()) {
            (DesiredState::Running | DesiredState::Stopped, Some(name), Some(key)) => Some(ContainerSpec {
                image: instance.image.clone(),
                hostname: name.to_string(),
                ssh_public_key: key.clone(),
                limits: instance.limits,
                container_id: site.last_observation.as_ref().map(|seen| seen.observation.container_id.clone()),
            }),
            // Nothing can be made for an erased person; their instances are being deleted.
            _ => None,
        };
        let wanted = if container.is_some() { instance.desired } else { DesiredState::Deleted };
        assignments.insert(site.backend_id, assignment(instance.placement, wanted, container));
    }
    assignments
}
