//! How containers end: the engine's events, and what it says about a container that does not run.

use std::collections::HashMap;

use bollard::models::{ContainerState, EventMessage};
use bollard::query_parameters::EventsOptionsBuilder;
use dockhost_domain::ids::InstanceId;
use dockhost_domain::reported::ContainerId;
use dockhost_domain::wire::ContainerEnd;
use futures::StreamExt;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::errors::{container_error, other_error};
use super::{DockerRuntime, labels};
use crate::runtime::RuntimeError;

/// The events after which a container does not run, or does not exist, of Docker and of Podman.
const ENDS: [&str; 5] = ["die", "died", "destroy", "remove", "oom"];
/// The exit code of a process that was killed with SIGKILL, as the kernel does when memory runs out.
const KILLED: u8 = 137;

impl DockerRuntime {
    /// See [`crate::runtime::Runtime::engine_time`].
    pub(super) async fn ask_time(&self) -> Result<i64, RuntimeError> {
        let info = self.docker.info().await.map_err(other_error("could not ask the engine for its time"))?;
        // Since the beginning, if it does not say: another look at a container does no harm.
        let time = info.system_time.and_then(|text| OffsetDateTime::parse(&text, &Rfc3339).ok());
        Ok(time.map_or(0, OffsetDateTime::unix_timestamp))
    }

    /// See [`crate::runtime::Runtime::watch`].
    pub(super) async fn follow_events(
        &self,
        since: i64,
        changed: &(dyn Fn(InstanceId) + Send + Sync),
    ) -> Result<(), RuntimeError> {
        // Only ends are of interest, but the engines don't agree on their names.
        let filters = HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            ("label".to_owned(), vec![format!("{}={}", labels::BACKEND, self.options.backend)]),
        ]);
        let options = EventsOptionsBuilder::default().since(&since.to_string()).filters(&filters).build();
        let mut events = std::pin::pin!(self.docker.events(Some(options)));
        while let Some(event) = events.next().await {
            let event = event.map_err(other_error("could not follow the engine's events"))?;
            if let Some(instance) = ended_instance(&event) {
                changed(instance);
            }
        }
        Ok(())
    }

    /// See [`crate::runtime::Runtime::end`].
    pub(super) async fn inspect_end(&self, id: &ContainerId) -> Result<ContainerEnd, RuntimeError> {
        let inspected = self.docker.inspect_container(id, None).await;
        let inspected = inspected.map_err(container_error("could not inspect the container"))?;
        Ok(inspected.state.as_ref().map_or(ContainerEnd::Unknown, end_of))
    }
}

/// The instance whose container ended or was removed.
fn ended_instance(event: &EventMessage) -> Option<InstanceId> {
    let action = event.action.as_deref()?;
    let attributes = event.actor.as_ref()?.attributes.as_ref()?;
    ENDS.contains(&action).then(|| attributes.get(labels::INSTANCE)?.parse().ok())?
}

/// The engine remembers that memory ran out even if only another process of the container was killed then, so its main
/// process must have been killed, too.
fn end_of(state: &ContainerState) -> ContainerEnd {
    let Some(code) = state.exit_code.and_then(|code| u8::try_from(code).ok()) else { return ContainerEnd::Unknown };
    if state.oom_killed == Some(true) && code == KILLED {
        return ContainerEnd::OutOfMemory;
    }
    ContainerEnd::of_exit_code(code)
}

#[cfg(test)]
mod tests {
    use bollard::models::EventActor;

    use super::*;

    #[test]
    fn end_of_a_killed_container_is_out_of_memory_only_if_the_engine_says_so() {
        let end = |exit_code, oom_killed| {
            end_of(&ContainerState { exit_code: Some(exit_code), oom_killed: Some(oom_killed), ..Default::default() })
        };
        assert_eq!(end(137, true), ContainerEnd::OutOfMemory);
        assert_eq!(end(137, false), ContainerEnd::Killed { signal: 9 });
        assert_eq!(end(3, true), ContainerEnd::Exited { exit_code: 3 }, "memory ran out earlier, for another process");
        assert_eq!(end(-1, false), ContainerEnd::Unknown);
        assert_eq!(end_of(&ContainerState::default()), ContainerEnd::Unknown);
    }

    #[test]
    fn ended_instance_is_that_of_the_label_for_ends_only() {
        let id = "0193b3a0-0000-7000-8000-000000000001";
        let event = |action: &str, labels: &[(&str, &str)]| EventMessage {
            action: Some(action.to_owned()),
            actor: Some(EventActor {
                attributes: Some(
                    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
                ),
                ..EventActor::default()
            }),
            ..EventMessage::default()
        };
        let ours = [(labels::INSTANCE, id)];
        for action in ["die", "destroy", "remove"] {
            assert_eq!(ended_instance(&event(action, &ours)), Some(id.parse().unwrap()));
        }
        assert_eq!(ended_instance(&event("start", &ours)), None);
        assert_eq!(ended_instance(&event("exec_create: sh", &ours)), None);
        assert_eq!(ended_instance(&event("die", &[])), None);
        assert_eq!(ended_instance(&event("die", &[(labels::INSTANCE, "x")])), None);
    }
}
