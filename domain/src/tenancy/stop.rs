//! Stops an instance without its user's request.

use serde::{Deserialize, Serialize};

use super::event::{ChangeRequested, MovedBy, TenancyEvent};
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
    /// Its time to live is over.
    TimeToLive,
    /// Nobody was connected to it for long.
    Autostop,
}

impl StopReason {
    /// The reason for the instance's owner.
    #[must_use]
    pub const fn explain(self) -> &'static str {
        match self {
            Self::BackendDrained => "stopped because an administrator drains its backend",
            Self::GroupEnded => "stopped because the group of its owner has ended",
            Self::TimeToLive => "stopped because its time to live is over",
            Self::Autostop => "stopped because nobody was connected to it for the time of its autostop",
        }
    }
}

impl Instance {
    /// The event that stops it for this reason, with what moved the moment of the stop last, if the reason is its lifetime.
    pub(super) fn stop_for(
        &self,
        (reason, moved_by): (StopReason, Option<MovedBy>),
        instance_id: InstanceId,
        now: Timestamp,
        policy: Policy,
    ) -> TenancyEvent {
        TenancyEvent::StopRequested(ChangeRequested {
            instance_id,
            generation: self.generation + 1,
            deadline: now.after(policy.stop_within),
            reason: Some(reason),
            moved_by,
        })
    }
}
