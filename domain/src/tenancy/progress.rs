//! The progress of an instance towards its desired state, and the status that the API derives from it.

use serde::{Deserialize, Serialize};

use super::event::{Deleted, DeletionOutcome, PlacementFailure, TenancyEvent};
use super::instance::Instance;
use crate::ids::OperationId;
use crate::timestamp::Timestamp;
use crate::wire::DesiredState;

/// The progress of an instance towards its desired state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Progress {
    /// A change is in progress until the deadline.
    Pending {
        /// The kind of change.
        #[serde(rename = "step")]
        operation_kind: OperationKind,
        /// The operation that requested it; `None` if the container changed without a request.
        operation: Option<OperationId>,
        /// When this state ends.
        deadline: Timestamp,
    },
    /// It has the desired state.
    #[serde(rename = "settled")]
    Stable,
    /// It does not have the desired state, and no change is in progress.
    Failed {
        /// The last failure.
        #[serde(rename = "setback", with = "super::failure::plain")]
        failure: PlacementFailure,
    },
    /// It is deleted.
    Deleted {
        /// When it was deleted.
        at: Timestamp,
    },
}

/// A kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationKind {
    /// Create the first container.
    Create,
    /// Stop the container.
    Stop,
    /// Start the container again.
    Resume,
    /// Remove the container.
    Delete,
}

impl OperationKind {
    /// The kind that leads to a desired state of an instance that exists.
    #[must_use]
    pub const fn towards(desired: DesiredState) -> Self {
        match desired {
            DesiredState::Running => Self::Resume,
            DesiredState::Stopped => Self::Stop,
            DesiredState::Deleted => Self::Delete,
        }
    }

    /// The kind of the operation that an event begins; `None` if it begins none. A machine or the leader may change an
    /// instance without an operation.
    #[must_use]
    pub const fn begun_by(event: &TenancyEvent) -> Option<Self> {
        match event {
            TenancyEvent::Requested(_) => Some(Self::Create),
            TenancyEvent::StopRequested(_) => Some(Self::Stop),
            TenancyEvent::ResumeRequested(_) => Some(Self::Resume),
            TenancyEvent::DeleteRequested(_) => Some(Self::Delete),
            TenancyEvent::Administered(administered) => Some(Self::towards(administered.wanted)),
            // Without a placement, one event requests and completes the deletion.
            TenancyEvent::Deleted(Deleted { outcome: DeletionOutcome::Unplaced, .. }) => Some(Self::Delete),
            TenancyEvent::Placed(_)
            | TenancyEvent::Moved(_)
            | TenancyEvent::Observed(_)
            | TenancyEvent::KeysChanged(_)
            | TenancyEvent::SettingsChanged(_)
            | TenancyEvent::Activity(_)
            | TenancyEvent::Failed(_)
            | TenancyEvent::Deleted(_)
            | TenancyEvent::Released(_)
            | TenancyEvent::Suspended(_)
            | TenancyEvent::Resumed(_)
            | TenancyEvent::QuotaSet(_)
            | TenancyEvent::Closed(_) => None,
        }
    }

    /// Its name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Stop => "stop",
            Self::Resume => "resume",
            Self::Delete => "delete",
        }
    }
}

/// The status of an instance as the API shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its first container is being created.
    Creating,
    /// The container runs.
    Running,
    /// The container is being stopped.
    Stopping,
    /// The container is stopped; its files remain.
    Stopped,
    /// The container is being started.
    Resuming,
    /// The container is being removed.
    Deleting,
    /// The instance is deleted.
    Deleted,
    /// The last operation failed.
    Failed,
    /// Its backend is not connected, so the container's state is unknown.
    Unreachable,
}

impl Status {
    /// Its name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Resuming => "resuming",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
            Self::Failed => "failed",
            Self::Unreachable => "unreachable",
        }
    }

    /// Whether a deadline ends this status.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Creating | Self::Stopping | Self::Resuming | Self::Deleting)
    }
}

impl Instance {
    /// The status while its backend is connected.
    #[must_use]
    pub const fn status(&self) -> Status {
        match (&self.progress, self.desired) {
            (Progress::Pending { operation_kind: OperationKind::Create, .. }, _) => Status::Creating,
            (Progress::Pending { operation_kind: OperationKind::Stop, .. }, _) => Status::Stopping,
            (Progress::Pending { operation_kind: OperationKind::Resume, .. }, _) => Status::Resuming,
            (Progress::Pending { operation_kind: OperationKind::Delete, .. }, _) => Status::Deleting,
            (Progress::Stable, DesiredState::Running) => Status::Running,
            (Progress::Stable, DesiredState::Stopped) => Status::Stopped,
            (Progress::Stable, DesiredState::Deleted) | (Progress::Deleted { .. }, _) => Status::Deleted,
            (Progress::Failed { .. }, _) => Status::Failed,
        }
    }

    /// The status, given whether its backend is connected: while it is not, the container's state is unknown.
    #[must_use]
    pub fn status_on(&self, backend_is_connected: bool) -> Status {
        match self.status() {
            Status::Running | Status::Stopped if !backend_is_connected => Status::Unreachable,
            status => status,
        }
    }
}
