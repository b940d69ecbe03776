//! What happens to the instances of one user. Every event but the last names its instance; what belongs to a placement
//! names that, so that a fold never has to guess what an old event was about.

use serde::{Deserialize, Serialize};

use crate::ids::{BackendId, InstanceId};
use crate::names::InstanceName;
use crate::personal::Personal;
use crate::placement::Choice;
use crate::timestamp::Timestamp;
use crate::wire::{AgentError, Limits, Observation};

/// What happens to an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum TenancyEvent {
    /// The user asked for an instance, and a machine was chosen for it.
    #[serde(rename = "dockhost.instance.requested.v1")]
    Requested(Requested),
    /// It gets another machine (or a new try), because the one before refused, was lost or was late.
    #[serde(rename = "dockhost.instance.placed.v1")]
    Placed(Placed),
    /// Its agent saw its container in another state than before.
    #[serde(rename = "dockhost.instance.observed.v1")]
    Observed(Observed),
    /// The user wants it stopped.
    #[serde(rename = "dockhost.instance.stop-requested.v1")]
    StopRequested(ChangeRequested),
    /// The user wants it running again.
    #[serde(rename = "dockhost.instance.resume-requested.v1")]
    ResumeRequested(ChangeRequested),
    /// The user wants it gone.
    #[serde(rename = "dockhost.instance.delete-requested.v1")]
    DeleteRequested(ChangeRequested),
    /// What was wanted could not be reached.
    #[serde(rename = "dockhost.instance.failed.v1")]
    Failed(Failed),
    /// It is gone for its user.
    #[serde(rename = "dockhost.instance.deleted.v1")]
    Deleted(Deleted),
    /// A machine confirmed that nothing is left of a placement that was given up.
    #[serde(rename = "dockhost.instance.released.v1")]
    Released(Released),
    /// No instance is ever asked for here again; what is there goes on to its end.
    #[serde(rename = "dockhost.tenancy.closed.v1")]
    Closed(Closed),
}

/// The user asked for an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requested {
    /// The new instance.
    pub instance_id: InstanceId,
    /// Its name, unique among the user's instances that are not deleted.
    pub name: Personal<InstanceName>,
    /// The OpenSSH public key that may log in.
    pub ssh_public_key: Personal<String>,
    /// The image; the agent's own when absent.
    pub image: Option<String>,
    /// What its container may use.
    pub limits: Limits,
    /// The machine chosen, and why.
    pub choice: Choice,
    /// By when its agent must have answered.
    pub deadline: Timestamp,
    /// The `Idempotency-Key` of the request, if it had one.
    pub idempotency: Option<Idempotency>,
}

/// An `Idempotency-Key`, and what it was used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Idempotency {
    /// Hex of a keyed hash of the key.
    pub key: String,
    /// Hex of a keyed hash of the request's body: the same key with another body is a mistake.
    pub request: String,
}

/// It gets another machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placed {
    /// The instance.
    pub instance_id: InstanceId,
    /// The new placement's number.
    pub placement: u32,
    /// The machine chosen, and why.
    pub choice: Choice,
    /// By when its agent must have answered.
    pub deadline: Timestamp,
    /// Why the placement before was given up.
    #[serde(rename = "after")]
    pub failure: PlacementFailure,
}

/// Why a placement was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlacementFailure {
    /// The machine.
    pub backend_id: BackendId,
    /// What went wrong there.
    pub reason: FailureReason,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FailureReason {
    /// The agent said no.
    Refused(AgentError),
    /// The agent tried and could not.
    Failed(AgentError),
    /// The agent said nothing before the deadline.
    Late,
    /// The machine was lost.
    Lost,
}

impl std::fmt::Display for FailureReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(trouble) => write!(f, "refused: {}", trouble.message),
            Self::Failed(trouble) => write!(f, "failed: {}", trouble.message),
            Self::Late => f.write_str("did not answer in time"),
            Self::Lost => f.write_str("was lost"),
        }
    }
}

/// An agent saw its container in another state than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// The instance.
    pub instance_id: InstanceId,
    /// The placement that the agent spoke of.
    pub placement: u32,
    /// The generation that it acted on.
    pub generation: u32,
    /// What it saw.
    #[serde(rename = "seen")]
    pub observation: Observation,
    /// Where the report stands among all reports.
    pub report: ReportPosition,
    /// Set when this unsettles an instance that was settled (its container stopped by itself): by when it must be
    /// as wanted again.
    pub deadline: Option<Timestamp>,
}

/// Where a report stands among all reports, ever: streams are told apart by their birth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportPosition {
    /// When the stream REPORTS was made, in milliseconds since 1970.
    pub incarnation: u64,
    /// The report's sequence in it.
    pub sequence: u64,
}

/// The user wants it otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeRequested {
    /// The instance.
    pub instance_id: InstanceId,
    /// The new generation's number.
    pub generation: u32,
    /// By when it must be so.
    pub deadline: Timestamp,
}

/// What was wanted could not be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// The instance.
    pub instance_id: InstanceId,
    /// The generation that failed.
    pub generation: u32,
    /// The last thing that went wrong; those before stand in the `placed` events.
    #[serde(rename = "setback")]
    pub failure: PlacementFailure,
    /// Whether the placement is given up too: no container was ever seen of it, so nothing is lost with it.
    #[serde(rename = "givesUp")]
    pub abandons_placement: bool,
    /// Where the report stands that said so; none if a deadline or a lost machine did.
    pub report: Option<ReportPosition>,
}

/// It is gone for its user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deleted {
    /// The instance.
    pub instance_id: InstanceId,
    /// The generation that this ends.
    pub generation: u32,
    /// What became of its container.
    #[serde(rename = "end")]
    pub outcome: DeletionOutcome,
}

/// What became of the container of a deleted instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum DeletionOutcome {
    /// There was no placement any more.
    Unplaced,
    /// Its machine confirmed that nothing is left.
    Confirmed {
        /// The machine.
        backend_id: BackendId,
    },
    /// Its machine did not answer in time; it is told again when it comes back.
    Abandoned {
        /// The machine.
        backend_id: BackendId,
    },
}

/// Nothing is left of a placement that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    /// The instance.
    pub instance_id: InstanceId,
    /// The machine.
    pub backend_id: BackendId,
    /// The placement.
    pub placement: u32,
}

/// No instance is ever asked for here again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Closed {
    /// Why.
    #[serde(rename = "because")]
    pub reason: CloseReason,
}

/// Why a tenancy ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CloseReason {
    /// Its user was erased.
    Erased,
}

impl TenancyEvent {
    /// Whether a deadline begins with it.
    #[must_use]
    pub const fn sets_deadline(&self) -> bool {
        match self {
            Self::Requested(_)
            | Self::Placed(_)
            | Self::StopRequested(_)
            | Self::ResumeRequested(_)
            | Self::DeleteRequested(_) => true,
            Self::Observed(e) => e.deadline.is_some(),
            Self::Failed(_) | Self::Deleted(_) | Self::Released(_) | Self::Closed(_) => false,
        }
    }

    /// The instance that it is about; none if it is about them all.
    #[must_use]
    pub const fn instance_id(&self) -> Option<InstanceId> {
        Some(match self {
            Self::Requested(e) => e.instance_id,
            Self::Placed(e) => e.instance_id,
            Self::Observed(e) => e.instance_id,
            Self::StopRequested(e) | Self::ResumeRequested(e) | Self::DeleteRequested(e) => e.instance_id,
            Self::Failed(e) => e.instance_id,
            Self::Deleted(e) => e.instance_id,
            Self::Released(e) => e.instance_id,
            Self::Closed(_) => return None,
        })
    }
}
