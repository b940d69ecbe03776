//! What is wrong with the backends now, for `GET /health` and for the status that users see.

use std::collections::BTreeMap;

use dockhost_domain::backend::{Admission, ConnectionState, Machine};
use dockhost_domain::ids::BackendId;
use dockhost_domain::placement::Ineligible;
use dockhost_domain::wire::IsolationState;

use super::fleet::Fleet;
use super::heartbeat_registry::HeartbeatRegistry;
use super::mass_failure::is_mass_failure;
use super::presence::Presence;

/// What is wrong with a connected backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// Its agent has stopped sending heartbeats.
    Silent,
    /// Its container engine does not answer.
    EngineDown,
    /// It lacks the image of new instances.
    ImageMissing,
    /// It downloads or builds the image of new instances.
    ImageFetching,
    /// Instances on it can reach it and its network.
    NotIsolated,
}

impl Problem {
    /// One sentence about the machine.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Silent => "its agent sends no heartbeats",
            Self::EngineDown => "the container engine of its machine does not answer",
            Self::ImageMissing => "its machine lacks the image of new instances",
            Self::ImageFetching => "its machine is fetching the image of new instances",
            Self::NotIsolated => "instances on its machine are not isolated from its network",
        }
    }

    /// Whether the backend can't take new instances.
    pub const fn prevents_instances(self) -> bool {
        !matches!(self, Self::NotIsolated)
    }
}

/// The backends in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetHealth {
    /// All that are registered and approved.
    pub registered: usize,
    /// Those that await approval. No other number counts them: anybody may register a machine.
    pub pending: usize,
    /// Those that an administrator keeps new instances away from.
    pub cordoned: usize,
    /// Those that are connected and not silent.
    pub connected: usize,
    /// Those of the connected ones that can't take new instances.
    pub degraded: usize,
    /// How many have each problem.
    pub problems: BTreeMap<Problem, usize>,
    /// Whether many fell silent at once, so that none of their instances is moved.
    pub mass_failure: bool,
}

impl HeartbeatRegistry {
    /// What is wrong with a backend that the log calls connected.
    pub fn problem(&self, backend: BackendId) -> Option<Problem> {
        let now = self.now(backend);
        if now.presence == Presence::Silent {
            return Some(Problem::Silent);
        }
        match now.obstacle {
            Some(Ineligible::EngineDown) => Some(Problem::EngineDown),
            Some(Ineligible::ImageMissing) => Some(Problem::ImageMissing),
            Some(Ineligible::ImageFetching) => Some(Problem::ImageFetching),
            _ => self
                .last(backend)
                .is_some_and(|last| matches!(last.heartbeat.machine.isolation, Some(IsolationState::Missing { .. })))
                .then_some(Problem::NotIsolated),
        }
    }

    /// Whether the instances of this machine can be observed and changed now.
    pub fn is_reachable(&self, backend: BackendId, machine: &Machine) -> bool {
        machine.connection == ConnectionState::Connected
            && !matches!(self.problem(backend), Some(Problem::Silent | Problem::EngineDown))
    }
}

impl Fleet {
    /// The backends in numbers.
    pub fn health(&self) -> FleetHealth {
        let mut health = FleetHealth::default();
        let (mut holders, mut silent_holders) = (0, 0);
        for (backend, machine, instances) in self.machines() {
            if machine.admission == Admission::Pending {
                health.pending += 1;
                continue;
            }
            health.registered += 1;
            health.cordoned += usize::from(machine.is_cordoned);
            if machine.connection != ConnectionState::Connected {
                continue;
            }
            let problem = self.heartbeats().problem(backend);
            let is_silent = problem == Some(Problem::Silent);
            holders += usize::from(instances > 0);
            silent_holders += usize::from(instances > 0 && is_silent);
            health.connected += usize::from(!is_silent);
            health.degraded += usize::from(!is_silent && problem.is_some_and(Problem::prevents_instances));
            if let Some(problem) = problem {
                *health.problems.entry(problem).or_default() += 1;
            }
        }
        health.mass_failure = is_mass_failure(silent_holders, holders);
        health
    }
}
