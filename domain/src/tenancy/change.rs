//! Stops, resumes or deletes an instance: a new generation with a deadline. A deletion of an existing instance is never
//! rejected.

use super::Tenancy;
use super::event::{ChangeRequested, Deleted, DeletionOutcome, TenancyEvent};
use super::policy::Policy;
use super::progress::Progress;
use crate::aggregate::{Command, CommandClass};
use crate::ids::InstanceId;
use crate::timestamp::Timestamp;
use crate::wire::DesiredState;

/// Change the desired state of an instance; nothing if it has it already.
#[derive(Debug, Clone, Copy)]
pub struct ChangeInstance {
    /// The instance.
    pub instance_id: InstanceId,
    /// The new desired state.
    pub to: DesiredState,
    /// The deciding replica's time.
    pub now: Timestamp,
    /// The time limits.
    pub policy: Policy,
}

/// Why a change is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRejected {
    /// The user has no such instance.
    #[error("no such instance")]
    NotFound,
    /// It can't be resumed while the account is disabled.
    #[error("the account is disabled")]
    Suspended,
    /// It must not be resumed. Not decided here, but by whoever knows the backends.
    #[error("an administrator drains the backend of the instance; it can be resumed if that is undone")]
    BackendDrained,
    /// It must not be resumed. Not decided here, but by whoever knows the groups.
    #[error("your group has ended, so your instances can't be resumed; an administrator can change that")]
    GroupEnded,
    /// It must not be resumed: its time to live, or what its owner's group allows, is over: see [`may_resume`](super::Instance::may_resume).
    #[error("the time to live of the instance ended at {at}, so it can't be resumed until that is extended")]
    Expired {
        /// When it ended.
        at: Timestamp,
    },
    /// It is being deleted.
    #[error("the instance is being deleted")]
    Deleting,
    /// It has no container to stop or resume.
    #[error("the instance has no container; delete it and create another")]
    NeverCreated,
}

impl ChangeInstance {
    /// The class of a change to this state.
    #[must_use]
    pub const fn class_of(to: DesiredState) -> CommandClass {
        match to {
            DesiredState::Running => CommandClass::Growth,
            DesiredState::Stopped | DesiredState::Deleted => CommandClass::Essential,
        }
    }
}

impl Command for ChangeInstance {
    type Aggregate = Tenancy;
    type Rejection = ChangeRejected;

    fn class(&self) -> CommandClass {
        Self::class_of(self.to)
    }

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
        if state.suspended && self.to == DesiredState::Running {
            return Err(ChangeRejected::Suspended);
        }
        if instance.desired == DesiredState::Deleted {
            return if to_delete { Ok(None) } else { Err(ChangeRejected::Deleting) };
        }
        if instance.current_placement.is_none() {
            let outcome = DeletionOutcome::Unplaced;
            let deleted = TenancyEvent::Deleted(Deleted { instance_id, generation, outcome });
            return if to_delete { Ok(Some(deleted)) } else { Err(ChangeRejected::NeverCreated) };
        }
        if instance.desired == self.to && !failed {
            return Ok(None);
        }
        let request = |within| {
            let deadline = self.now.after(within);
            ChangeRequested { instance_id, generation, deadline, reason: None, moved_by: None }
        };
        Ok(Some(match self.to {
            DesiredState::Running => TenancyEvent::ResumeRequested(request(self.policy.resume_within)),
            DesiredState::Stopped => TenancyEvent::StopRequested(request(self.policy.stop_within)),
            DesiredState::Deleted => TenancyEvent::DeleteRequested(request(self.policy.delete_within)),
        }))
    }
}
