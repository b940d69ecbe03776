//! The labels that identify a container.
//!
//! They are set when a container is created, and neither the agent nor the container can change them later.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use dockhost_domain::ids::BackendId;
use dockhost_domain::reported::HostKeys;
use dockhost_domain::wire::{Assignment, Limits, Ports};

use crate::container::{Container, ContainerState};
use crate::ports;

/// The container's instance.
pub(super) const INSTANCE: &str = "dockhost.instance";
/// The instance's owner.
pub(super) const USER: &str = "dockhost.user";
/// The placement that the container was created for.
pub(super) const PLACEMENT: &str = "dockhost.placement";
/// The backend that created it.
pub(super) const BACKEND: &str = "dockhost.backend";
/// Its host ports; the engine lists the ports of running containers only.
pub(super) const PORTS: &str = "dockhost.ports";
/// The directory of this machine from which it reads the keys that may log in; without it, the agent uploads them.
pub(super) const KEYS_DIR: &str = "dockhost.keys-dir";
/// The ids of the containers that it replaced.
pub(super) const FORMER: &str = "dockhost.former-ids";

/// What it may use: memory in MiB, thousandths of a processor, and processes.
pub(super) const LIMITS: &str = "dockhost.limits";

/// The labels of a new container.
pub(super) fn of(
    backend: BackendId,
    assignment: &Assignment,
    ports: Ports,
    keys_dir: Option<&Path>,
    former_ids: &[String],
) -> HashMap<String, String> {
    let mut labels = HashMap::from([
        (INSTANCE.to_owned(), assignment.instance_id.to_string()),
        (USER.to_owned(), assignment.user_id.to_string()),
        (PLACEMENT.to_owned(), assignment.placement.to_string()),
        (BACKEND.to_owned(), backend.to_string()),
        (PORTS.to_owned(), ports_text(ports)),
    ]);
    if let Some(spec) = &assignment.container {
        let Limits { memory_mib, cpu_millis, pids } = spec.limits;
        labels.insert(LIMITS.to_owned(), format!("{memory_mib},{cpu_millis},{pids}"));
    }
    if let Some(dir) = keys_dir {
        labels.insert(KEYS_DIR.to_owned(), dir.display().to_string());
    }
    if !former_ids.is_empty() {
        labels.insert(FORMER.to_owned(), former_ids.join(","));
    }
    labels
}

/// The directory of a container's keys.
pub(super) fn keys_dir(labels: Option<&HashMap<String, String>>) -> Option<PathBuf> {
    labels?.get(KEYS_DIR).map(PathBuf::from)
}

/// The ports label's text.
pub(super) fn ports_text(ports: Ports) -> String {
    ports::numbers(ports).map(|port| port.to_string()).join(",")
}

/// Parses a listed container; `None` if a label is missing or invalid. For one in the state `Created` the caller must
/// find out whether it has run.
pub(super) fn container(summary: &ContainerSummary) -> Option<Container> {
    let labels = summary.labels.as_ref()?;
    let former_ids = labels.get(FORMER).map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default();
    Some(Container {
        id: summary.id.as_deref()?.parse().ok()?,
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
        host_keys: HostKeys::default(),
        limits: limits(summary),
        keys_version: None,
    })
}

/// What a container may use.
fn limits(summary: &ContainerSummary) -> Option<Limits> {
    let mut numbers = summary.labels.as_ref()?.get(LIMITS)?.split(',').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(Limits { memory_mib: next()?, cpu_millis: next()?, pids: next()? })
}

/// The host ports of a container, running or not.
pub(super) fn ports(summary: &ContainerSummary) -> Option<Ports> {
    let text = summary.labels.as_ref()?.get(PORTS)?;
    let mut numbers = text.split(',').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(Ports { ssh: next()?, http: next()?, https: next()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockhost_domain::wire::{ContainerSpec, DesiredState, RestartPolicy};

    #[test]
    fn labels_roundtrip_for_a_stopped_container() {
        let id = |n| format!("0193b3a0-0000-7000-8000-00000000000{n}");
        let assignment = Assignment {
            instance_id: id(1).parse().unwrap(),
            user_id: id(2).parse().unwrap(),
            placement: 3,
            generation: 9,
            desired: DesiredState::Stopped,
            container: Some(ContainerSpec {
                image: None,
                hostname: "web".to_owned(),
                ssh_public_key: "key".to_owned(),
                authorized_keys: None,
                limits: Limits { memory_mib: 512, cpu_millis: 500, pids: 100 },
                container_id: None,
                restart: RestartPolicy::default(),
                has_run: false,
            }),
        };
        let ports = Ports { ssh: 20000, http: 20001, https: 20002 };
        let former = ["a".to_owned(), "b".to_owned()];
        let mut summary = ContainerSummary {
            id: Some("c".to_owned()),
            state: Some(ContainerSummaryStateEnum::EXITED),
            labels: Some(of(id(4).parse().unwrap(), &assignment, ports, Some(Path::new("/k")), &former)),
            ..ContainerSummary::default()
        };
        let container = container(&summary).unwrap();
        assert_eq!((container.instance, container.user), (assignment.instance_id, assignment.user_id));
        assert_eq!((container.placement, container.ports, container.state), (3, ports, ContainerState::Stopped));
        assert_eq!(container.limits, assignment.container.map(|spec| spec.limits));
        assert!(container.has_id("a") && container.has_id("b") && container.has_id("c"));

        assert_eq!(keys_dir(summary.labels.as_ref()).as_deref(), Some(Path::new("/k")));
        summary.labels.as_mut().unwrap().insert(PLACEMENT.to_owned(), "x".to_owned());
        assert_eq!(super::container(&summary), None);
    }
}
