//! An instance that checks assign to the backend.

use std::sync::Arc;

use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::reported::ContainerId;
use dockhost_domain::wire::{
    Assignment, ContainerSpec, DesiredState, Limits, Observation, Phase, Report, ReportKind, RestartPolicy,
};

use crate::common::clock;

/// A key that belongs to nobody.
const SSH_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
/// Small enough for any machine.
const LIMITS: Limits = Limits { memory_mib: 64, cpu_millis: 100, pids: 64 };

/// An instance and its owner.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The instance.
    pub id: InstanceId,
    /// Its owner.
    pub user: UserId,
    image: Option<Arc<str>>,
}

impl Instance {
    /// A new one.
    pub fn new(image: Option<Arc<str>>) -> Self {
        let (id, user) = (InstanceId::from_uuid(clock::fresh_uuid()), UserId::from_uuid(clock::fresh_uuid()));
        Self { id, user, image }
    }

    /// What the backend is to do.
    pub fn assignment(&self, desired: DesiredState, placement: u32, generation: u32) -> Assignment {
        let container = ContainerSpec {
            image: self.image.as_deref().map(str::to_owned),
            hostname: "conformance".to_owned(),
            ssh_public_key: SSH_KEY.to_owned(),
            authorized_keys: None,
            limits: LIMITS,
            container_id: None,
            restart: RestartPolicy::default(),
            has_run: false,
        };
        Assignment {
            instance_id: self.id,
            user_id: self.user,
            placement,
            generation,
            desired,
            container: (desired != DesiredState::Deleted).then_some(container),
        }
    }

    /// What a report says of the container of this placement at this generation, in this phase.
    pub fn observed(&self, report: &Report, phase: Phase, placement: u32, generation: u32) -> Option<Observation> {
        match &report.kind {
            ReportKind::InstanceCreated(seen) | ReportKind::InstanceStatus(seen)
                if self.is_about(report)
                    && seen.phase == phase
                    && (report.placement, report.generation) == (placement, generation) =>
            {
                Some(seen.clone())
            }
            _ => None,
        }
    }

    /// Whether a report says that no container of this placement exists.
    pub fn is_deleted(&self, report: &Report, placement: u32) -> bool {
        self.is_about(report) && report.placement == placement && report.kind == ReportKind::InstanceDeleted
    }

    /// Whether a report is about this instance.
    pub fn is_about(&self, report: &Report) -> bool {
        report.instance_id == self.id
    }
}

/// The same assignment with the id of the container that the backend reported.
pub fn with_container(mut assignment: Assignment, container: &ContainerId) -> Assignment {
    if let Some(spec) = &mut assignment.container {
        spec.container_id = Some(container.as_str().to_owned());
    }
    assignment
}
