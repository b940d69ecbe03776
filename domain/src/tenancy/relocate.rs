//! Moves an instance to another backend, without its files, if its owner chose that: when its backend was lost for long, or
//! when an administrator drains it.
//!
//! The old container is fenced by its placement: its backend removes it when it can, and reports of it change nothing. An
//! instance on a drained backend is stopped first, so that two containers of it never run. A lost backend that returns is
//! told to remove the old container, and until it has, no other one that asks may create the new one
//! ([`Instance::old_container_on`]).

use super::Tenancy;
use super::event::{MoveReason, Moved, OnLost, StopReason, TenancyEvent};
use super::instance::Instance;
use super::policy::Facts;
use super::progress::Progress;
use crate::aggregate::{Command, CommandClass};
use crate::ids::{BackendId, InstanceId};
use crate::placement::{NoCandidate, place};
use crate::timestamp::Timestamp;
use crate::wire::DesiredState;

/// Why an instance is to be moved now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// Its backend is lost since this time.
    LostSince(Timestamp),
    /// Its backend is drained.
    Drain,
}

/// Move an instance; nothing if it is not on the backend, or its owner did not choose that.
#[derive(Debug, Clone)]
pub struct MoveInstance {
    /// The lost or drained backend.
    pub backend_id: BackendId,
    /// The instance.
    pub instance_id: InstanceId,
    /// Why.
    pub occasion: Occasion,
    /// Includes the candidates for the new placement.
    pub facts: Facts,
}

/// Why an instance is not moved now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoveRejected {
    /// Its backend may return in time.
    #[error("the instance is moved at {at}, if its backend has not returned")]
    TooEarly {
        /// When it is moved.
        at: Timestamp,
    },
    /// No backend can take it.
    #[error("no backend can take the instance")]
    NoCandidate(NoCandidate),
}

impl Instance {
    /// Whether it has a container on this backend and is recreated elsewhere if that backend is lost for long while it is to
    /// run.
    fn is_recreated_if_lost(&self, backend_id: BackendId) -> bool {
        self.has_container_on(backend_id) && self.on_lost == OnLost::Recreate
    }

    /// The backend that was lost and may still have, and run, the container that the instance had before its last move.
    #[must_use]
    pub fn old_container_on(&self) -> Option<BackendId> {
        let lost = self.last_move.filter(|last| last.reason == MoveReason::BackendLost).map(|last| last.from);
        lost.filter(|backend_id| self.pending_removals.contains_key(backend_id))
    }

    /// Whether it is on this backend, has a container there, and is to run elsewhere once that backend is lost for long. A
    /// change that is under way ends by its deadline before.
    #[must_use]
    pub fn moves_when_lost(&self, backend_id: BackendId) -> bool {
        self.is_recreated_if_lost(backend_id) && self.desired == DesiredState::Running
    }

    /// Whether a drain of this backend stopped it, so that it can be moved now.
    #[must_use]
    pub fn moves_in_drain(&self, backend_id: BackendId) -> bool {
        self.is_recreated_if_lost(backend_id)
            && self.desired == DesiredState::Stopped
            && self.stop_reason == Some(StopReason::BackendDrained)
            && self.progress == Progress::Stable
    }

    fn has_container_on(&self, backend_id: BackendId) -> bool {
        let here = self.current_placement.as_ref().filter(|placement| placement.backend_id == backend_id);
        here.is_some_and(|placement| placement.last_observation.is_some())
    }
}

impl Command for MoveInstance {
    type Aggregate = Tenancy;
    type Rejection = MoveRejected;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, MoveRejected> {
        let Some(instance) = state.instance(self.instance_id) else { return Ok(None) };
        let moves = match self.occasion {
            Occasion::LostSince(_) => instance.moves_when_lost(self.backend_id),
            Occasion::Drain => instance.moves_in_drain(self.backend_id),
        };
        let is_changing = matches!(instance.progress, Progress::Pending { .. });
        if !moves || is_changing || state.suspended || state.closed {
            return Ok(None);
        }
        let reason = match self.occasion {
            Occasion::LostSince(since) => {
                let at = since.after(self.facts.policy.recreate_after);
                if self.facts.now < at {
                    return Err(MoveRejected::TooEarly { at });
                }
                MoveReason::BackendLost
            }
            Occasion::Drain => MoveReason::BackendDrained,
        };
        let tried = [self.backend_id];
        let choice = place(&self.facts.candidates, &instance.demand(), &tried, self.facts.tie_breaker)
            .map_err(MoveRejected::NoCandidate)?;
        Ok(Some(TenancyEvent::Moved(Moved {
            instance_id: self.instance_id,
            placement: instance.placement + 1,
            generation: instance.generation + 1,
            from: self.backend_id,
            choice,
            deadline: self.facts.now.after(self.facts.policy.create_within),
            reason,
        })))
    }
}
