//! Stops an instance without its user's request.

use serde::{Deserialize, Serialize};

use super::event::{ChangeRequested, TenancyEvent};
use super::instance::Instance;
use super::policy::Policy;
use crate::ids::InstanceId;
use crate::timestamp::Timestamp;

/// Why an instance was stopped without its user's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// An administrator drains its backend.
    BackendDrained,
    /// The end of its user's group is over.
    GroupEnded,
}

impl StopReason {
    /// The reason for the instance's owner.
    #[must_use]
    pub const fn explain(self) -> &'static str {
        match self {
            Self::BackendDrained => "stopped because an administrator drains its backend",
            Self::GroupEnded => "stopped because the group of its owner has ended",
        }
    }
}

impl Instance {
    /// The event that stops it for this reason.
    pub(super) fn stop_for(
        &self,
        reason: StopReason,
        instance_id: InstanceId,
        now: Timestamp,
        policy: Policy,
    ) -> TenancyEvent {
        TenancyEvent::StopRequested(ChangeRequested {
            instance_id,
            generation: self.generation + 1,
            deadline: now.after(policy.stop_within),
            reason: Some(reason),
        })
    }
}
