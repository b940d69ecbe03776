//! A container as the agent sees it: what every runtime tells, and what every decision is made from.
//!
//! In: what a runtime lists. Out: one value per container, with its labels parsed; and the observation that a report
//! carries. A container's instance, owner and placement are its labels, so an agent that lost its memory knows what it
//! owns as soon as the runtime answers.

use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::wire::{Observation, Phase, Ports};

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContainerState {
    /// It was made and has never run: nothing of its user is in it.
    Created,
    /// It has run and doesn't now.
    Stopped,
    /// It runs; whether its SSH server answers is not known.
    Starting,
    /// It runs, and its SSH server answers.
    Running,
}

impl ContainerState {
    /// Whether its processes live.
    #[must_use]
    pub const fn is_alive(self) -> bool {
        matches!(self, Self::Starting | Self::Running)
    }
}

/// One container of this backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The runtime's id.
    pub id: String,
    /// The ids that its files had before: a container whose ports were taken gets others by being made anew from its
    /// own files.
    pub former_ids: Vec<String>,
    /// The instance that it is.
    pub instance: InstanceId,
    /// The instance's owner.
    pub user: UserId,
    /// The placement that it was made for.
    pub placement: u32,
    /// The published ports.
    pub ports: Ports,
    /// What it does.
    pub state: ContainerState,
    /// SHA-256 fingerprints of its SSH host keys; empty until known.
    pub host_keys: Vec<String>,
}

impl Container {
    /// Whether these are the files that were known by `id`.
    #[must_use]
    pub fn has_id(&self, id: &str) -> bool {
        self.id == id || self.former_ids.iter().any(|former| former == id)
    }

    /// What a report says of it. Only a container whose SSH server answers counts as running.
    #[must_use]
    pub fn observation(&self) -> Observation {
        let phase = match self.state {
            ContainerState::Running => Phase::Running,
            ContainerState::Created | ContainerState::Stopped | ContainerState::Starting => Phase::Stopped,
        };
        Observation { phase, container_id: self.id.clone(), ports: self.ports, host_keys: self.host_keys.clone() }
    }
}
