//! Decision: a machine was lost while an instance was on it. In: which machine, which instance. Out: another machine
//! for an instance that has no container yet. One that has is not moved: its disk is on the lost machine.

use std::convert::Infallible;

use super::event::{FailureReason, PlacementFailure, TenancyEvent};
use super::instance::Progress;
use super::policy::Facts;
use super::{Tenancy, retry};
use crate::aggregate::Command;
use crate::ids::{BackendId, InstanceId};
use crate::wire::DesiredState;

/// This machine is lost.
#[derive(Debug, Clone)]
pub struct HandleBackendLost {
    /// Which machine.
    pub backend_id: BackendId,
    /// The instance on it.
    pub instance_id: InstanceId,
    /// The other machines.
    pub facts: Facts,
}

impl Command for HandleBackendLost {
    type Aggregate = Tenancy;
    type Rejection = Infallible;

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, Infallible> {
        let waits_here = |instance: &&super::Instance| {
            matches!(instance.progress, Progress::Pending { .. })
                && instance.desired != DesiredState::Deleted
                && instance
                    .current_placement
                    .as_ref()
                    .is_some_and(|site| site.backend_id == self.backend_id && site.last_observation.is_none())
        };
        let setback = PlacementFailure { backend_id: self.backend_id, reason: FailureReason::Lost };
        Ok(state
            .instance(self.instance_id)
            .filter(waits_here)
            .map(|instance| retry::elsewhere(self.instance_id, instance, setback, None, &self.facts)))
    }
}
