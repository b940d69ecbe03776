//! Stops an instance because its backend is drained, and says how far that is.

use std::convert::Infallible;

use super::Tenancy;
use super::event::{PlacementFailure, StopReason, TenancyEvent};
use super::instance::Instance;
use super::policy::Policy;
use super::progress::{OperationKind, Progress};
use crate::aggregate::{Command, CommandClass};
use crate::ids::{BackendId, InstanceId};
use crate::timestamp::Timestamp;
use crate::wire::DesiredState;

/// What a drain has done about an instance on the drained backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainStep<'a> {
    /// It has to be stopped.
    Running,
    /// It is being created. It is stopped when that has ended.
    Creating,
    /// It is being stopped or deleted.
    Ending,
    /// It is stopped; its files stay on the backend.
    Stopped,
    /// It did not stop. It still does, if the backend can.
    Stayed(&'a PlacementFailure),
}

impl Instance {
    /// What a drain of this backend has done about it; `None` if it is not placed there.
    #[must_use]
    pub fn drain_step(&self, backend_id: BackendId) -> Option<DrainStep<'_>> {
        let is_here = self.current_placement.as_ref().is_some_and(|placement| placement.backend_id == backend_id);
        is_here.then_some(match (&self.progress, self.desired) {
            (Progress::Deleted { .. }, _) => return None,
            (Progress::Pending { operation_kind: OperationKind::Create, .. }, DesiredState::Running) => {
                DrainStep::Creating
            }
            (_, DesiredState::Running) => DrainStep::Running,
            (Progress::Failed { failure }, _) => DrainStep::Stayed(failure),
            (Progress::Stable, _) => DrainStep::Stopped,
            (Progress::Pending { .. }, _) => DrainStep::Ending,
        })
    }
}

/// Stop an instance, because its backend is drained; nothing if it is not running there.
#[derive(Debug, Clone, Copy)]
pub struct StopForDrain {
    /// The backend.
    pub backend_id: BackendId,
    /// The instance.
    pub instance_id: InstanceId,
    /// The deciding replica's time.
    pub now: Timestamp,
    /// The time limits.
    pub policy: Policy,
}

impl Command for StopForDrain {
    type Aggregate = Tenancy;
    type Rejection = Infallible;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, Infallible> {
        let instance_id = self.instance_id;
        let to_stop = |instance: &&Instance| instance.drain_step(self.backend_id) == Some(DrainStep::Running);
        let reason = (StopReason::BackendDrained, None);
        let stop = |instance: &Instance| instance.stop_for(reason, instance_id, self.now, self.policy);
        Ok(state.instance(instance_id).filter(to_stop).map(stop))
    }
}
