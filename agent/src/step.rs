//! The agent's decision: what to do next for one instance.
//!
//! In: what is assignment, which containers of that instance exist, and whether there is capacity for one more. Out: one step.
//! The caller takes it, looks again and asks again, until the step is to report. One step at a time, each decided from
//! what is really there, makes a crash between two steps nothing special: whatever was half done is seen and finished.
//!
//! The rules that keep files safe are here: nothing is removed but by an assignment that says `deleted` or names a
//! higher placement, and a container that is known to have existed is never replaced by an empty one.

use dockhost_domain::wire::{AgentError, Assignment, DesiredState, ReportKind};

use crate::container::{Container, ContainerState};

/// Whether the backend may make one more container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapacityStatus {
    /// It may.
    Available,
    /// It holds as many as it takes.
    Full {
        /// How many that is.
        max: u32,
    },
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing: a container of a later placement is here, so the assignment is from the past.
    Ignore,
    /// Remove the container with this id, running or not.
    Remove(String),
    /// Make the container of the assignment's placement, without starting it.
    Create,
    /// Start the container with this id.
    Start(String),
    /// Wait until the SSH server of the container with this id answers.
    AwaitSsh(String),
    /// Stop the container with this id; its files stay.
    Stop(String),
    /// It is as assignment, or will not be: say so and rest.
    Report(ReportKind),
}

/// The next step towards `wanted`, given all containers of that instance (`actual`, in any order).
#[must_use]
pub fn next_step(assignment: &Assignment, actual: &[Container], capacity: CapacityStatus) -> Step {
    if assignment.desired == DesiredState::Deleted {
        // A container of a later placement is not this assignment's to remove.
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

/// There is a container of the wanted placement.
fn with_container(assignment: &Assignment, container: &Container) -> Step {
    if let Some(known) = expected_container_id(assignment)
        && !container.has_id(known)
    {
        return Step::Report(ReportKind::InstanceFailed(container_gone(known)));
    }
    let id = container.id.clone();
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

/// There is none.
fn without_container(assignment: &Assignment, capacity: CapacityStatus) -> Step {
    if let Some(known) = expected_container_id(assignment) {
        return Step::Report(ReportKind::InstanceFailed(container_gone(known)));
    }
    match (&assignment.container, capacity) {
        (None, _) => Step::Report(ReportKind::InstanceFailed(AgentError {
            code: "runtime_error".to_owned(),
            message: "the assignment doesn't say what container to make".to_owned(),
        })),
        (Some(_), CapacityStatus::Full { max }) => Step::Report(ReportKind::InstanceRefused(AgentError {
            code: "no_capacity".to_owned(),
            message: format!("all {max} places are taken"),
        })),
        (Some(_), CapacityStatus::Available) => Step::Create,
    }
}

fn expected_container_id(assignment: &Assignment) -> Option<&str> {
    assignment.container.as_ref()?.container_id.as_deref()
}

fn container_gone(id: &str) -> AgentError {
    AgentError {
        code: "container_gone".to_owned(),
        message: format!("the container {id} with the instance's files is not on this machine"),
    }
}

#[cfg(test)]
mod tests;
