//! Decides the next step for one instance.
//!
//! The caller executes the step, lists the containers again and asks for the next one, until the step is a report. Each
//! decision uses only the assignment and the observed containers, so after a crash the next list continues the work.
//!
//! Two rules protect users' files: only an assignment that says `deleted` or names a higher placement removes a
//! container, and a container that is known to have existed is never replaced by an empty one.

use dockhost_domain::reported::{ContainerId, ShortText};
use dockhost_domain::wire::{AgentError, Assignment, DesiredState, ReportKind};

use crate::capacity::CapacityStatus;
use crate::container::{Container, ContainerState};

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing: a container of a higher placement exists, so the assignment is obsolete.
    Ignore,
    /// Remove the container with this id, running or not.
    Remove(ContainerId),
    /// Create the container of the assignment's placement, without starting it.
    Create,
    /// Start the container with this id.
    Start(ContainerId),
    /// Replace the keys that may log in to the container with this id, if they are of an earlier version.
    Authorize(ContainerId),
    /// Wait until the SSH server of the container with this id answers.
    AwaitSsh(ContainerId),
    /// Stop the container with this id; its files stay.
    Stop(ContainerId),
    /// Report that the desired state is reached, or why it can't be.
    Report(ReportKind),
    /// Report that the container with the instance's files is gone, if the assignment is current.
    ReportGone(AgentError),
}

/// The next step towards the assignment, given all containers of its instance (`actual`, in any order).
#[must_use]
pub fn next_step(assignment: &Assignment, actual: &[Container], capacity: CapacityStatus) -> Step {
    if assignment.desired == DesiredState::Deleted {
        // This assignment must not remove a container of a higher placement.
        return match actual.iter().find(|container| container.placement <= assignment.placement) {
            Some(container) => Step::Remove(container.id.clone()),
            None => Step::Report(ReportKind::InstanceDeleted),
        };
    }
    if actual.iter().any(|container| container.placement > assignment.placement) {
        return Step::Ignore;
    }
    if let Some(old) = actual.iter().find(|container| container.placement < assignment.placement) {
        return Step::Remove(old.id.clone());
    }
    match actual.first() {
        Some(container) => with_container(assignment, container),
        None => without_container(assignment, capacity),
    }
}

/// The step if a container of the assignment's placement exists.
fn with_container(assignment: &Assignment, container: &Container) -> Step {
    if let Some(expected) = expected_container_id(assignment)
        && !container.has_id(expected)
    {
        return Step::ReportGone(container_gone(expected));
    }
    let id = container.id.clone();
    // Before the start of a stopped one, so that a key that was removed does not log in for a moment. A container that has
    // never run gets its keys when it starts.
    let is_in_use = assignment.desired == DesiredState::Running && container.state != ContainerState::Created;
    if is_in_use && has_other_keys(assignment, container) {
        return Step::Authorize(id);
    }
    match (assignment.desired, container.state) {
        (DesiredState::Running, ContainerState::Created | ContainerState::Stopped) => Step::Start(id),
        (DesiredState::Running, ContainerState::Starting) => Step::AwaitSsh(id),
        (DesiredState::Stopped | DesiredState::Deleted, ContainerState::Starting | ContainerState::Running) => {
            Step::Stop(id)
        }
        (DesiredState::Running, ContainerState::Running)
        | (DesiredState::Stopped | DesiredState::Deleted, ContainerState::Created | ContainerState::Stopped) => {
            Step::Report(ReportKind::InstanceStatus(container.observation()))
        }
    }
}

/// Whether the container may have keys of an earlier version. The first ones came with its first start.
fn has_other_keys(assignment: &Assignment, container: &Container) -> bool {
    let wanted = assignment.container.as_ref().map_or(0, |spec| spec.keys().0);
    wanted > 0 && container.keys_version.is_none_or(|version| version < wanted)
}

/// The step if no container exists.
fn without_container(assignment: &Assignment, capacity: CapacityStatus) -> Step {
    if let Some(expected) = expected_container_id(assignment) {
        return Step::ReportGone(container_gone(expected));
    }
    match (&assignment.container, capacity) {
        (None, _) => Step::Report(ReportKind::InstanceFailed(agent_error(
            "runtime_error",
            "the assignment has no container specification",
        ))),
        (Some(_), CapacityStatus::Full { max }) => Step::Report(ReportKind::InstanceRefused(agent_error(
            "no_capacity",
            &format!("the limit of {max} containers is reached"),
        ))),
        (Some(_), CapacityStatus::Short(shortage)) => {
            Step::Report(ReportKind::InstanceRefused(agent_error("no_capacity", &shortage.to_string())))
        }
        (Some(_), CapacityStatus::Available) => Step::Create,
    }
}

fn expected_container_id(assignment: &Assignment) -> Option<&str> {
    assignment.container.as_ref()?.container_id.as_deref()
}

fn container_gone(id: &str) -> AgentError {
    agent_error(
        "container_gone",
        &format!("the container {id} with the instance's files is not on its machine: it was removed there"),
    )
}

/// An error for a report.
#[must_use]
pub fn agent_error(code: &str, message: &str) -> AgentError {
    AgentError { code: ShortText::cleaned(code), message: ShortText::cleaned(message) }
}

#[cfg(test)]
mod tests;
