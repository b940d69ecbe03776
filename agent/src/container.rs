//! A container as every runtime lists it.
//!
//! Instance, owner and placement come from the container's labels, so a restarted agent needs no state of its own.

use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::reported::{ContainerId, HostKeys};
use dockhost_domain::wire::{Limits, Observation, Phase, Ports};

/// The state of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContainerState {
    /// Created and never started, so it contains no files of its user.
    Created,
    /// Has run before and is not running.
    Stopped,
    /// Running, but its SSH server is not known to answer.
    Starting,
    /// Running, and its SSH server answers.
    Running,
}

impl ContainerState {
    /// Whether the container's processes are running.
    #[must_use]
    pub const fn is_alive(self) -> bool {
        matches!(self, Self::Starting | Self::Running)
    }
}

/// One container of this backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The runtime's id of the container.
    pub id: ContainerId,
    /// Ids of the containers that this one replaced: to change its ports, a container is recreated from its files.
    pub former_ids: Vec<String>,
    /// The instance that it belongs to.
    pub instance: InstanceId,
    /// The instance's owner.
    pub user: UserId,
    /// The placement that it was created for.
    pub placement: u32,
    /// The published ports.
    pub ports: Ports,
    /// Its state.
    pub state: ContainerState,
    /// SHA-256 fingerprints of its SSH host keys; empty until they are read.
    pub host_keys: HostKeys,
    /// What it may use; `None` if it was created by an earlier release.
    pub limits: Option<Limits>,
    /// The version of the keys that may log in; none until it is known. Listed by no runtime.
    pub keys_version: Option<u32>,
}

impl Container {
    /// Whether the container with this id is this one, or one that it replaced.
    #[must_use]
    pub fn has_id(&self, id: &str) -> bool {
        *self.id == *id || self.former_ids.iter().any(|former| former == id)
    }

    /// The observation for a report. Only a container whose SSH server answers counts as running.
    #[must_use]
    pub fn observation(&self) -> Observation {
        let phase = match self.state {
            ContainerState::Running => Phase::Running,
            ContainerState::Created | ContainerState::Stopped | ContainerState::Starting => Phase::Stopped,
        };
        Observation {
            phase,
            container_id: self.id.clone(),
            ports: self.ports,
            host_keys: self.host_keys.clone(),
            ended: None,
        }
    }
}
