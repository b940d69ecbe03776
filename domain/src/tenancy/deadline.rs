//! Ends a transitional state whose deadline has passed.

use super::event::{Deleted, DeletionOutcome, Failed, FailureReason, PlacementFailure, TenancyEvent};
use super::policy::Facts;
use super::progress::{OperationKind, Progress};
use super::{Tenancy, retry};
use crate::aggregate::{Command, CommandClass};
use crate::ids::InstanceId;
use crate::timestamp::Timestamp;

/// Handle a fired timer; nothing if the state has ended.
#[derive(Debug, Clone)]
pub struct HandleDeadline {
    /// The instance.
    pub instance_id: InstanceId,
    /// The generation that the timer was set for.
    pub generation: u32,
    /// Includes the candidates for another placement.
    pub facts: Facts,
}

/// Why a timer is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeadlineRejected {
    /// The deadline was extended, or this replica's clock is behind the broker's.
    #[error("the deadline {deadline} has not passed yet")]
    TooEarly {
        /// The current deadline.
        deadline: Timestamp,
    },
}

impl Command for HandleDeadline {
    type Aggregate = Tenancy;
    type Rejection = DeadlineRejected;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, DeadlineRejected> {
        let instance_id = self.instance_id;
        let Some(instance) = state.instance(instance_id) else { return Ok(None) };
        let (Progress::Pending { operation_kind, deadline, .. }, Some(current)) =
            (&instance.progress, &instance.current_placement)
        else {
            return Ok(None);
        };
        let (generation, backend_id) = (instance.generation, current.backend_id);
        if self.generation != generation {
            return Ok(None);
        }
        if self.facts.now < *deadline {
            return Err(DeadlineRejected::TooEarly { deadline: *deadline });
        }
        let failure = PlacementFailure { backend_id, reason: FailureReason::Late };
        Ok(Some(if *operation_kind == OperationKind::Delete {
            let outcome = DeletionOutcome::Abandoned { backend_id };
            TenancyEvent::Deleted(Deleted { instance_id, generation, outcome })
        } else if instance.never_ran() {
            retry::place_again_or_fail(instance_id, instance, failure, None, &self.facts)
        } else {
            TenancyEvent::Failed(Failed { instance_id, generation, failure, abandons_placement: false, report: None })
        }))
    }
}
