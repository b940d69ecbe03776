//! Decision: a user wants an instance stopped, resumed or gone. In: which, what, and the time. Out: a new generation
//! with its deadline; nothing if it is so already or on its way; or why not. Deleting is never refused.

use super::Tenancy;
use super::event::{ChangeRequested, Deleted, DeletionOutcome, TenancyEvent};
use super::instance::Progress;
use super::policy::Policy;
use crate::aggregate::Command;
use crate::ids::InstanceId;
use crate::timestamp::Timestamp;
use crate::wire::DesiredState;

/// Want this of an instance from now on.
#[derive(Debug, Clone, Copy)]
pub struct ChangeInstance {
    /// Which.
    pub instance_id: InstanceId,
    /// What.
    pub to: DesiredState,
    /// The deciding replica's time.
    pub now: Timestamp,
    /// How long it may take.
    pub policy: Policy,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRejected {
    /// The user has no such instance.
    #[error("no such instance")]
    NotFound,
    /// It is being deleted.
    #[error("the instance is being deleted")]
    Deleting,
    /// It never came to be, so there is nothing to stop or resume.
    #[error("the instance could not be created; delete it and create another")]
    NeverCreated,
}

impl Command for ChangeInstance {
    type Aggregate = Tenancy;
    type Rejection = ChangeRejected;

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, ChangeRejected> {
        let instance_id = self.instance_id;
        let instance = state.instance(instance_id).ok_or(ChangeRejected::NotFound)?;
        let failed = matches!(instance.progress, Progress::Failed { .. });
        let generation = instance.generation + 1;
        let to_delete = self.to == DesiredState::Deleted;
        if instance.is_deleted() {
            return if to_delete { Ok(None) } else { Err(ChangeRejected::NotFound) };
        }
        if state.closed && !to_delete {
            return Err(ChangeRejected::NotFound);
        }
        if instance.desired == DesiredState::Deleted {
            return if to_delete { Ok(None) } else { Err(ChangeRejected::Deleting) };
        }
        if instance.current_placement.is_none() {
            let end = DeletionOutcome::Unplaced;
            let gone = TenancyEvent::Deleted(Deleted { instance_id, generation, outcome: end });
            return if to_delete { Ok(Some(gone)) } else { Err(ChangeRejected::NeverCreated) };
        }
        if instance.desired == self.to && !failed {
            return Ok(None);
        }
        let request = |within| ChangeRequested { instance_id, generation, deadline: self.now.after(within) };
        Ok(Some(match self.to {
            DesiredState::Running => TenancyEvent::ResumeRequested(request(self.policy.resume_within)),
            DesiredState::Stopped => TenancyEvent::StopRequested(request(self.policy.stop_within)),
            DesiredState::Deleted => TenancyEvent::DeleteRequested(request(self.policy.delete_within)),
        }))
    }
}
