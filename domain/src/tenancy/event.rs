//! The events of a user's instances. All but the last name the instance, and those about a placement name the
//! placement, so that a fold can tell whether an event concerns the current one.

use serde::{Deserialize, Serialize};

pub use super::activity::Activity;
pub use super::close::{CloseReason, Closed};
pub use super::failure::{FailureReason, PlacementFailure};
pub use super::lifetime::{Fact, Lifetime, MovedBy};
pub use super::moved::{MoveReason, Moved, OnLost};
pub use super::recorded::{RecordedError, RecordedObservation, RecordedPorts};
pub use super::settings::{ByAdministrator, SettingsChanged};
pub use super::stop::StopReason;
pub use super::suspend::{Resumed, Suspended};
use crate::ids::{BackendId, InstanceId};
use crate::labels::Labels;
use crate::names::InstanceName;
use crate::personal::Personal;
use crate::placement::Choice;
use crate::quota::Quota;
use crate::sizes::SizeName;
use crate::timestamp::Timestamp;
use crate::wire::{DesiredState, Limits, RestartPolicy};

/// A tenancy's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum TenancyEvent {
    /// The user requested an instance, and a backend was chosen.
    #[serde(rename = "dockhost.instance.requested.v1")]
    Requested(Requested),
    /// Another backend was chosen, because the previous one refused, failed, was lost or was late.
    #[serde(rename = "dockhost.instance.placed.v2")]
    Placed(Placed),
    /// The agent observed a change of the container.
    #[serde(rename = "dockhost.instance.observed.v1")]
    Observed(Observed),
    /// The user requested a stop.
    #[serde(rename = "dockhost.instance.stop-requested.v1")]
    StopRequested(ChangeRequested),
    /// The user requested a resume.
    #[serde(rename = "dockhost.instance.resume-requested.v1")]
    ResumeRequested(ChangeRequested),
    /// The user requested the deletion.
    #[serde(rename = "dockhost.instance.delete-requested.v1")]
    DeleteRequested(ChangeRequested),
    /// An administrator requested another desired state.
    #[serde(rename = "dockhost.instance.administered.v1")]
    Administered(Administered),
    /// The keys that may log in were replaced.
    #[serde(rename = "dockhost.instance.keys-changed.v1")]
    KeysChanged(KeysChanged),
    /// The user changed what happens to the instance, or until when it may run.
    #[serde(rename = "dockhost.instance.settings-changed.v1")]
    SettingsChanged(SettingsChanged),
    /// Somebody was connected to the instance by SSH. Recorded now and then, and only if that moves the moment of its stop.
    #[serde(rename = "dockhost.instance.activity.v1")]
    Activity(Activity),
    /// The desired state could not be reached.
    #[serde(rename = "dockhost.instance.failed.v2")]
    Failed(Failed),
    /// The instance is deleted for its user.
    #[serde(rename = "dockhost.instance.deleted.v1")]
    Deleted(Deleted),
    /// It gets a new container on another backend, because its own was lost for long or is drained; its files are gone.
    #[serde(rename = "dockhost.instance.moved.v1")]
    Moved(Moved),
    /// A backend confirmed that it has no container of an abandoned placement.
    #[serde(rename = "dockhost.instance.released.v1")]
    Released(Released),
    /// The account was disabled: until it is enabled again, no instance is created or resumed.
    #[serde(rename = "dockhost.tenancy.suspended.v1")]
    Suspended(Suspended),
    /// The account was enabled: instances can be created and resumed again.
    #[serde(rename = "dockhost.tenancy.resumed.v1")]
    Resumed(Resumed),
    /// An administrator set the user's quota, or took that back. What is not set is as their group or the configuration has it.
    #[serde(rename = "dockhost.tenancy.quota-set.v1")]
    QuotaSet(Quota),
    /// The tenancy accepts no new instance.
    #[serde(rename = "dockhost.tenancy.closed.v1")]
    Closed(Closed),
}

/// The user requested an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requested {
    /// The new instance.
    pub instance_id: InstanceId,
    /// Its name, unique among the user's instances that are not deleted.
    pub name: Personal<InstanceName>,
    /// The OpenSSH public key of root.
    pub ssh_public_key: Personal<String>,
    /// Further ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_keys: Vec<Personal<String>>,
    /// Its image; the agent's default if absent.
    pub image: Option<String>,
    /// Its resource limits.
    pub limits: Limits,
    /// The chosen backend.
    pub choice: Choice,
    /// When the agent must have reported.
    pub deadline: Timestamp,
    /// The `Idempotency-Key` of the request, if any.
    pub idempotency: Option<Idempotency>,
    /// What happens when its container ends though it should run.
    #[serde(default, skip_serializing_if = "RestartPolicy::is_default")]
    pub restart: RestartPolicy,
    /// The labels that its backend must have.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub requires: Labels,
    /// The size that was asked for by its name; `limits` has what it was then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<SizeName>,
    /// What happens if its backend is lost.
    #[serde(default, skip_serializing_if = "OnLost::is_wait")]
    pub on_lost: OnLost,
    /// Until when it may run.
    #[serde(default, skip_serializing_if = "Lifetime::is_unlimited")]
    pub lifetime: Lifetime,
}

/// An `Idempotency-Key` and its request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Idempotency {
    /// Hex of a keyed hash of the key.
    pub key: String,
    /// Hex of a keyed hash of the request's body. The same key with another body is rejected.
    pub request: String,
}

/// Another backend was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placed {
    /// The instance.
    pub instance_id: InstanceId,
    /// The new placement's number.
    pub placement: u32,
    /// The chosen backend.
    pub choice: Choice,
    /// When the agent must have reported.
    pub deadline: Timestamp,
    /// Why the previous placement was abandoned.
    #[serde(rename = "after")]
    pub failure: PlacementFailure,
}

/// The agent observed a change of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// The instance.
    pub instance_id: InstanceId,
    /// The placement that the report is about.
    pub placement: u32,
    /// The generation that the agent acted on.
    pub generation: u32,
    /// The observation.
    #[serde(rename = "seen")]
    pub observation: RecordedObservation,
    /// The report's position.
    pub report: ReportPosition,
    /// Set if an instance left its desired state without a request, such as a container that exited: when it must have
    /// the desired state again.
    pub deadline: Option<Timestamp>,
}

/// The position of a report among all reports, also across recreated streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportPosition {
    /// When the stream REPORTS was created, in milliseconds since 1970.
    pub incarnation: u64,
    /// The report's sequence in it.
    pub sequence: u64,
}

/// The user requested another desired state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeRequested {
    /// The instance.
    pub instance_id: InstanceId,
    /// The new generation's number.
    pub generation: u32,
    /// When the desired state must be reached.
    pub deadline: Timestamp,
    /// Why it was stopped, if its user did not request it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<StopReason>,
    /// If it was stopped because of its lifetime: what moved the moment of the stop last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_by: Option<MovedBy>,
}

/// An administrator requested another desired state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Administered {
    /// The instance.
    pub instance_id: InstanceId,
    /// The desired state.
    pub wanted: DesiredState,
    /// The new generation's number.
    pub generation: u32,
    /// When the desired state must be reached.
    pub deadline: Timestamp,
    /// What the owner is told.
    pub reason: Option<Personal<String>>,
}

/// The keys that may log in were replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeysChanged {
    /// The instance.
    pub instance_id: InstanceId,
    /// All OpenSSH public keys of root from now on.
    pub keys: Vec<Personal<String>>,
}

/// The desired state could not be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// The instance.
    pub instance_id: InstanceId,
    /// The generation that failed.
    pub generation: u32,
    /// The last failure. The `placed` events contain the previous ones.
    #[serde(rename = "setback")]
    pub failure: PlacementFailure,
    /// Whether the placement is abandoned, because no container of it was observed.
    #[serde(rename = "givesUp")]
    pub abandons_placement: bool,
    /// The position of the report of the failure; `None` if a deadline passed or the backend was lost.
    pub report: Option<ReportPosition>,
}

/// The instance is deleted for its user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deleted {
    /// The instance.
    pub instance_id: InstanceId,
    /// The generation that this ends.
    pub generation: u32,
    /// The outcome for its container.
    #[serde(rename = "end")]
    pub outcome: DeletionOutcome,
}

/// The outcome for the container of a deleted instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum DeletionOutcome {
    /// There was no placement.
    Unplaced,
    /// The backend confirmed the removal.
    Confirmed {
        /// The backend.
        backend_id: BackendId,
    },
    /// The backend did not report in time. Its assignment to remove the container remains.
    Abandoned {
        /// The backend.
        backend_id: BackendId,
    },
}

/// A backend has no container of an abandoned placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    /// The instance.
    pub instance_id: InstanceId,
    /// The backend.
    pub backend_id: BackendId,
    /// The placement.
    pub placement: u32,
}

/// What an event changes about an instance's placement on one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlacementChange {
    /// The instance is placed on the backend.
    Added,
    /// The placement failed or was abandoned; the backend may still have a container.
    Abandoned,
    /// The backend confirmed that it has no container.
    Removed,
}

impl TenancyEvent {
    /// The backends on which it changes the instance's placement. Empty for an event that changes only the instance.
    #[must_use]
    pub fn placement_changes(&self) -> Vec<(BackendId, PlacementChange)> {
        use PlacementChange::{Abandoned, Added, Removed};
        match self {
            Self::Requested(e) => vec![(e.choice.backend_id, Added)],
            Self::Placed(e) => vec![(e.failure.backend_id, Abandoned), (e.choice.backend_id, Added)],
            Self::Moved(e) => vec![(e.from, Abandoned), (e.choice.backend_id, Added)],
            Self::Failed(e) => vec![(e.failure.backend_id, Abandoned)],
            Self::Released(e) => vec![(e.backend_id, Removed)],
            Self::Deleted(e) => match e.outcome {
                DeletionOutcome::Confirmed { backend_id } => vec![(backend_id, Removed)],
                DeletionOutcome::Abandoned { backend_id } => vec![(backend_id, Abandoned)],
                DeletionOutcome::Unplaced => vec![],
            },
            Self::Observed(_)
            | Self::StopRequested(_)
            | Self::ResumeRequested(_)
            | Self::DeleteRequested(_)
            | Self::Administered(_)
            | Self::KeysChanged(_)
            | Self::SettingsChanged(_)
            | Self::Activity(_)
            | Self::Suspended(_)
            | Self::Resumed(_)
            | Self::QuotaSet(_)
            | Self::Closed(_) => vec![],
        }
    }

    /// Whether it sets a deadline.
    #[must_use]
    pub const fn sets_deadline(&self) -> bool {
        match self {
            Self::Requested(_)
            | Self::Placed(_)
            | Self::Moved(_)
            | Self::StopRequested(_)
            | Self::ResumeRequested(_)
            | Self::DeleteRequested(_)
            | Self::Administered(_) => true,
            Self::Observed(e) => e.deadline.is_some(),
            Self::KeysChanged(_)
            | Self::SettingsChanged(_)
            | Self::Activity(_)
            | Self::Failed(_)
            | Self::Deleted(_)
            | Self::Released(_)
            | Self::Suspended(_)
            | Self::Resumed(_)
            | Self::QuotaSet(_)
            | Self::Closed(_) => false,
        }
    }

    /// The instance; `None` if the event concerns all.
    #[must_use]
    pub const fn instance_id(&self) -> Option<InstanceId> {
        Some(match self {
            Self::Requested(e) => e.instance_id,
            Self::Placed(e) => e.instance_id,
            Self::Moved(e) => e.instance_id,
            Self::Observed(e) => e.instance_id,
            Self::StopRequested(e) | Self::ResumeRequested(e) | Self::DeleteRequested(e) => e.instance_id,
            Self::Administered(e) => e.instance_id,
            Self::KeysChanged(e) => e.instance_id,
            Self::SettingsChanged(e) => e.instance_id,
            Self::Activity(e) => e.instance_id,
            Self::Failed(e) => e.instance_id,
            Self::Deleted(e) => e.instance_id,
            Self::Released(e) => e.instance_id,
            Self::Suspended(_) | Self::Resumed(_) | Self::QuotaSet(_) | Self::Closed(_) => return None,
        })
    }
}
