//! The labels that tell whose a container is.
//!
//! In: a container as the engine lists it. Out: ours, or nothing if its labels don't say. The labels are written at
//! create_error and can't be changed, not even from inside.

use std::collections::HashMap;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use dockhost_domain::ids::BackendId;
use dockhost_domain::wire::{Assignment, Ports};

use crate::container::{Container, ContainerState};
use crate::ports;

/// The instance.
pub(super) const INSTANCE: &str = "dockhost.instance";
/// Its owner.
pub(super) const USER: &str = "dockhost.user";
/// The placement that it was made for.
pub(super) const PLACEMENT: &str = "dockhost.placement";
/// The backend that made it.
pub(super) const BACKEND: &str = "dockhost.backend";
/// Its host ports; the engine lists those of running containers only.
pub(super) const PORTS: &str = "dockhost.ports";
/// The ids that its files had before.
pub(super) const FORMER: &str = "dockhost.former-ids";

/// The labels of a new container.
pub(super) fn of(
    backend: BackendId,
    assignment: &Assignment,
    ports: Ports,
    former_ids: &[String],
) -> HashMap<String, String> {
    let mut labels = HashMap::from([
        (INSTANCE.to_owned(), assignment.instance_id.to_string()),
        (USER.to_owned(), assignment.user_id.to_string()),
        (PLACEMENT.to_owned(), assignment.placement.to_string()),
        (BACKEND.to_owned(), backend.to_string()),
        (PORTS.to_owned(), ports_text(ports)),
    ]);
    if !former_ids.is_empty() {
        labels.insert(FORMER.to_owned(), former_ids.join(","));
    }
    labels
}

/// The ports label's text.
pub(super) fn ports_text(ports: Ports) -> String {
    ports::numbers(ports).map(|port| port.to_string()).join(",")
}

/// The container of a listing; a created one still has to be asked whether it has run.
pub(super) fn container(summary: &ContainerSummary) -> Option<Container> {
    let labels = summary.labels.as_ref()?;
    let former_ids = labels.get(FORMER).map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default();
    Some(Container {
        id: summary.id.clone()?,
        former_ids,
        instance: labels.get(INSTANCE)?.parse().ok()?,
        user: labels.get(USER)?.parse().ok()?,
        placement: labels.get(PLACEMENT)?.parse().ok()?,
        ports: ports(summary)?,
        state: match summary.state? {
            ContainerSummaryStateEnum::CREATED => ContainerState::Created,
            ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::RESTARTING => ContainerState::Starting,
            _ => ContainerState::Stopped,
        },
        host_keys: vec![],
    })
}

/// The host ports that a container holds, running or not.
pub(super) fn ports(summary: &ContainerSummary) -> Option<Ports> {
    let text = summary.labels.as_ref()?.get(PORTS)?;
    let mut numbers = text.split(',').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(Ports { ssh: next()?, http: next()?, https: next()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockhost_domain::wire::DesiredState;

    #[test]
    fn labels_tell_all_that_there_is_to_know_of_a_stopped_container() {
        let id = |n| format!("0193b3a0-0000-7000-8000-00000000000{n}");
        let assignment = Assignment {
            instance_id: id(1).parse().unwrap(),
            user_id: id(2).parse().unwrap(),
            placement: 3,
            generation: 9,
            desired: DesiredState::Stopped,
            container: None,
        };
        let ports = Ports { ssh: 20000, http: 20001, https: 20002 };
        let former = ["a".to_owned(), "b".to_owned()];
        let mut summary = ContainerSummary {
            id: Some("c".to_owned()),
            state: Some(ContainerSummaryStateEnum::EXITED),
            labels: Some(of(id(4).parse().unwrap(), &assignment, ports, &former)),
            ..ContainerSummary::default()
        };
        let container = container(&summary).unwrap();
        assert_eq!((container.instance, container.user), (assignment.instance_id, assignment.user_id));
        assert_eq!((container.placement, container.ports, container.state), (3, ports, ContainerState::Stopped));
        assert!(container.has_id("a") && container.has_id("b") && container.has_id("c"));

        summary.labels.as_mut().unwrap().insert(PLACEMENT.to_owned(), "x".to_owned());
        assert_eq!(super::container(&summary), None);
    }
}
