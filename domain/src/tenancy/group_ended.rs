//! Stops an instance because the group of its owner has ended.

use std::convert::Infallible;

use super::Tenancy;
use super::event::{StopReason, TenancyEvent};
use super::instance::Instance;
use super::policy::Policy;
use super::progress::{OperationKind, Progress};
use crate::aggregate::{Command, CommandClass};
use crate::ids::InstanceId;
use crate::timestamp::Timestamp;
use crate::wire::DesiredState;

impl Instance {
    /// Whether it has to stop because its owner's group ended at this time: it is to run, its creation is over, and no
    /// administrator resumed it after the end.
    #[must_use]
    pub fn must_stop_for_group(&self, ended_at: Timestamp) -> bool {
        let is_created = !matches!(
            self.progress,
            Progress::Pending { operation_kind: OperationKind::Create, .. } | Progress::Deleted { .. }
        );
        let resumed_by_administrator = self.administered.as_ref().is_some_and(|note| note.at >= ended_at);
        self.desired == DesiredState::Running
            && is_created
            && self.current_placement.is_some()
            && !resumed_by_administrator
    }
}

/// Stop an instance, because the group of its owner has ended; nothing if it need not stop.
#[derive(Debug, Clone, Copy)]
pub struct StopForGroup {
    /// The instance.
    pub instance_id: InstanceId,
    /// When the group ended.
    pub ended_at: Timestamp,
    /// The deciding replica's time.
    pub now: Timestamp,
    /// The time limits.
    pub policy: Policy,
}

impl Command for StopForGroup {
    type Aggregate = Tenancy;
    type Rejection = Infallible;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, Infallible> {
        let instance_id = self.instance_id;
        let to_stop = |instance: &&Instance| self.ended_at <= self.now && instance.must_stop_for_group(self.ended_at);
        let reason = (StopReason::GroupEnded, None);
        let stop = |instance: &Instance| instance.stop_for(reason, instance_id, self.now, self.policy);
        Ok(state.instance(instance_id).filter(to_stop).map(stop))
    }
}
