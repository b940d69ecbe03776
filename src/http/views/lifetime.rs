//! When an instance is stopped because of its lifetime, and why it was.

use dockhost_domain::tenancy::{self, MovedBy, StopReason, StopsAt};
use dockhost_domain::timestamp::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// When an instance is stopped, if nothing moves that moment any more.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStop {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    #[serde(flatten)]
    cause: InstanceStopCause,
}

/// The limit for which an instance is stopped, and what moved the moment of the stop last.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStopCause {
    reason: InstanceStopReason,
    moved_by: InstanceStopFact,
    /// When that happened.
    #[schema(value_type = String, format = DateTime)]
    moved_at: Timestamp,
}

/// - `timeToLive`: its `expiresAt`, or the `timeToLiveMinutes` of its owner's group.
/// - `autostop`: nobody is connected to it by SSH for its `autostopMinutes`, or those of its owner's group.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum InstanceStopReason {
    TimeToLive,
    Autostop,
}

/// - `created`: the instance was created.
/// - `resumed`: it was resumed.
/// - `recreated`: it was created again on another backend.
/// - `activity`: somebody was connected to it.
/// - `changed`: its owner changed the limit.
/// - `groupJoined`: its owner was put into the group whose limit it is.
/// - `groupChanged`: an administrator changed the limit of the group.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum InstanceStopFact {
    Created,
    Resumed,
    Recreated,
    Activity,
    Changed,
    GroupJoined,
    GroupChanged,
}

impl InstanceStopCause {
    /// `None` if the reason is not the instance's lifetime.
    fn of(reason: StopReason, MovedBy { fact, at }: MovedBy) -> Option<Self> {
        let reason = match reason {
            StopReason::TimeToLive => InstanceStopReason::TimeToLive,
            StopReason::Autostop => InstanceStopReason::Autostop,
            StopReason::BackendDrained | StopReason::GroupEnded => return None,
        };
        let moved_by = match fact {
            tenancy::Fact::Created => InstanceStopFact::Created,
            tenancy::Fact::Resumed => InstanceStopFact::Resumed,
            tenancy::Fact::Recreated => InstanceStopFact::Recreated,
            tenancy::Fact::Activity => InstanceStopFact::Activity,
            tenancy::Fact::Changed => InstanceStopFact::Changed,
            tenancy::Fact::GroupJoined => InstanceStopFact::GroupJoined,
            tenancy::Fact::GroupChanged => InstanceStopFact::GroupChanged,
        };
        Some(Self { reason, moved_by, moved_at: at })
    }

    /// Why an instance was stopped, if that was because of its lifetime.
    pub fn of_last_stop(instance: &tenancy::Instance) -> Option<Self> {
        Self::of(instance.stop_reason?, instance.stop_moved_by?)
    }
}

impl InstanceStop {
    /// The stop of an instance.
    pub fn new(stop: StopsAt) -> Option<Self> {
        let StopsAt { at, reason, moved_by } = stop;
        InstanceStopCause::of(reason, moved_by).map(|cause| Self { at, cause })
    }
}
