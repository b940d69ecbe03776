//! Decision: the deadline of a transient state has passed. In: which instance, which generation, the time. Out: the
//! state's end, whatever it takes; nothing if the state ended before; or that it is too early by this clock.

use super::event::{Deleted, DeletionOutcome, Failed, FailureReason, PlacementFailure, TenancyEvent};
use super::instance::{OperationKind, Progress};
use super::policy::Facts;
use super::{Tenancy, retry};
use crate::aggregate::Command;
use crate::ids::InstanceId;
use crate::timestamp::Timestamp;

/// A timer fired.
#[derive(Debug, Clone)]
pub struct HandleDeadline {
    /// Whose.
    pub instance_id: InstanceId,
    /// The generation that it was set for.
    pub generation: u32,
    /// Time, machines.
    pub facts: Facts,
}

/// Not yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeadlineRejected {
    /// The state ends later than the timer thought: it was set anew, or this clock is behind the broker's.
    #[error("the deadline is at {deadline}")]
    TooEarly {
        /// When.
        deadline: Timestamp,
    },
}

impl Command for HandleDeadline {
    type Aggregate = Tenancy;
    type Rejection = DeadlineRejected;

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, DeadlineRejected> {
        let instance_id = self.instance_id;
        let Some(instance) = state.instance(instance_id) else { return Ok(None) };
        let (Progress::Pending { operation_kind: step, deadline, .. }, Some(site)) =
            (&instance.progress, &instance.current_placement)
        else {
            return Ok(None);
        };
        let (generation, backend_id) = (instance.generation, site.backend_id);
        if self.generation != generation {
            return Ok(None);
        }
        if self.facts.now < *deadline {
            return Err(DeadlineRejected::TooEarly { deadline: *deadline });
        }
        let late = PlacementFailure { backend_id, reason: FailureReason::Late };
        Ok(Some(if *step == OperationKind::Delete {
            TenancyEvent::Deleted(Deleted {
                instance_id,
                generation,
                outcome: DeletionOutcome::Abandoned { backend_id },
            })
        } else if site.last_observation.is_none() {
            retry::elsewhere(instance_id, instance, late, None, &self.facts)
        } else {
            TenancyEvent::Failed(Failed {
                instance_id,
                generation,
                failure: late,
                abandons_placement: false,
                report: None,
            })
        }))
    }
}
