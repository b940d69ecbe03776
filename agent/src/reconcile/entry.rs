//! What the reconciler remembers about one instance. All of it can be lost.

use std::time::{Duration, Instant};

use dockhost_domain::reported::{ContainerId, HostKeys};
use dockhost_domain::trace::TraceParent;
use dockhost_domain::wire::{Assignment, ReportKind};

use crate::backoff;
use crate::container::{Container, ContainerState};
use crate::restart::Restarts;

/// The agent's state for one instance.
#[derive(Debug, Default)]
pub(super) struct InstanceEntry {
    pub(super) assignment: Option<Assignment>,
    /// The trace of the assignment, until a run has done what it says. What happens later belongs to no trace before it.
    pub(super) trace: Option<TraceParent>,
    /// Whether a worker runs.
    pub(super) has_worker: bool,
    /// Whether something changed since the last run began.
    pub(super) dirty: bool,
    /// Whether the container may have changed since the last run looked at it.
    pub(super) must_check: bool,
    /// Whether a run has looked at the container. Before, it may have ended without this agent.
    pub(super) is_looked_at: bool,
    /// Whether the engine was gone since the container was last seen alive.
    pub(super) was_engine_gone: bool,
    /// The placement and generation in which the container was last reported as running, until its end is recorded. A failed
    /// operation in between, for example while the engine is down, does not change that.
    pub(super) ran_in: Option<(u32, u32)>,
    /// The ends of the container in the current generation.
    pub(super) restarts: Restarts,
    /// The last report of a finished run.
    pub(super) last_reported: Option<LastReport>,
    /// Failures in a row, and the earliest time of the next retry.
    pub(super) failures: usize,
    pub(super) retry_at: Option<Instant>,
    pub(super) cache: ContainerCache,
}

/// A report and the assignment that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LastReport {
    pub(super) placement: u32,
    pub(super) generation: u32,
    pub(super) kind: ReportKind,
}

/// Properties of a container that the runtime does not list.
#[derive(Debug, Clone, Default)]
pub(super) struct ContainerCache {
    /// The id of the container whose SSH server has answered since its last start.
    pub(super) ssh_ready: Option<ContainerId>,
    /// A container's id and host keys.
    pub(super) host_keys: Option<(ContainerId, HostKeys)>,
    /// A container's id and the version of the keys that may log in.
    pub(super) keys_version: Option<(ContainerId, u32)>,
}

impl InstanceEntry {
    pub(super) fn reset_backoff(&mut self) {
        (self.failures, self.retry_at) = (0, None);
    }

    /// Counts a failure and delays the next retry.
    pub(super) fn delay_retry(&mut self, bounds: (Duration, Duration)) -> Duration {
        let delay = backoff::delay(bounds, self.failures);
        self.failures += 1;
        self.retry_at = Some(Instant::now() + delay);
        delay
    }

    pub(super) fn has_container(&self) -> bool {
        let kind = self.last_reported.as_ref().map(|last| &last.kind);
        matches!(kind, Some(ReportKind::InstanceStatus(_) | ReportKind::InstanceCreated(_)))
    }
}

impl LastReport {
    pub(super) fn matches(&self, assignment: &Assignment, kind: &ReportKind) -> bool {
        (self.placement, self.generation) == (assignment.placement, assignment.generation) && self.kind == *kind
    }

    /// Whether this report refused that assignment. A refusal is final, because the server may have placed the instance
    /// on another backend since.
    pub(super) fn is_refusal_of(&self, assignment: &Assignment) -> bool {
        (self.placement, self.generation) == (assignment.placement, assignment.generation)
            && matches!(self.kind, ReportKind::InstanceRefused(_))
    }
}

impl ContainerCache {
    /// Completes the listed containers.
    pub(super) fn apply_to(&self, containers: &mut [Container]) {
        for container in containers {
            if container.state == ContainerState::Starting && self.ssh_ready.as_ref() == Some(&container.id) {
                container.state = ContainerState::Running;
            }
            if let Some((id, keys)) = &self.host_keys
                && *id == container.id
            {
                container.host_keys.clone_from(keys);
            }
            if let Some((id, version)) = &self.keys_version
                && *id == container.id
            {
                container.keys_version = Some(*version);
            }
        }
    }
}
