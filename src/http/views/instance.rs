//! An instance, as its owner sees it.

use dockhost_domain::backend::{ConnectionState, Machine};
use dockhost_domain::ids::{BackendId, InstanceId, UserId};
use dockhost_domain::tenancy::event::PlacementFailure;
use dockhost_domain::tenancy::{self, Progress, Status};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::Observation;
use serde::Serialize;
use utoipa::ToSchema;

use super::BackendStatus;
use crate::http::app::App;
use crate::http::consistency::Stale;
use crate::http::response::details::BackendReason;

/// The user to log in as.
const SSH_USER: &str = "root";

/// An instance. What is not known yet is null.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    #[schema(value_type = Uuid)]
    instance_id: InstanceId,
    #[schema(required)]
    name: Option<String>,
    #[schema(value_type = Uuid)]
    user_id: UserId,
    /// The backend that it is placed on.
    #[schema(value_type = Option<Uuid>, required)]
    backend_id: Option<BackendId>,
    #[schema(required)]
    container_id: Option<String>,
    status: InstanceStatus,
    /// Increases with each change of the desired state.
    generation: u32,
    /// The backend's port that leads to port 22 of the container.
    #[schema(required)]
    ssh_port: Option<u16>,
    /// The backend's port that leads to port 80 of the container.
    #[schema(required)]
    http_port: Option<u16>,
    /// The backend's port that leads to port 443 of the container.
    #[schema(required)]
    https_port: Option<u16>,
    #[schema(required)]
    ssh_details: Option<SshDetails>,
    #[schema(required)]
    backend: Option<InstanceBackend>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last_activity: Timestamp,
    /// The reason of each backend that was tried, in order; only while the status is `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    failure: Option<Vec<BackendReason>>,
    /// When the backend's last heartbeat arrived; only while the status is `unreachable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime)]
    last_seen: Option<Timestamp>,
    /// Only if events are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    stale: Option<Stale>,
}

/// How to log in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SshDetails {
    host: String,
    port: u16,
    username: &'static str,
    /// The command that logs in.
    command: String,
    /// SHA-256 fingerprints of the host keys; empty until known.
    host_keys: Vec<String>,
}

/// The backend that an instance is placed on.
#[derive(Debug, Serialize, ToSchema)]
struct InstanceBackend {
    #[schema(required)]
    name: Option<String>,
    status: BackendStatus,
}

/// - `creating`, `stopping`, `resuming`, `deleting`: under way; each ends by a deadline.
/// - `running`: accepts logins.
/// - `stopped`: files and ports are kept.
/// - `failed`: not in the desired state; `failure` has the reasons. `resume`, `stop` and `DELETE` try again; if no
///   container was ever created, only `DELETE` does.
/// - `unreachable`: its backend sends no heartbeats; it continues when the backend is back.
/// - `deleted`: only in the answer to the deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum InstanceStatus {
    Creating,
    Running,
    Stopping,
    Stopped,
    Resuming,
    Deleting,
    Deleted,
    Failed,
    Unreachable,
}

impl From<Status> for InstanceStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Creating => Self::Creating,
            Status::Running => Self::Running,
            Status::Stopping => Self::Stopping,
            Status::Stopped => Self::Stopped,
            Status::Resuming => Self::Resuming,
            Status::Deleting => Self::Deleting,
            Status::Deleted => Self::Deleted,
            Status::Failed => Self::Failed,
            Status::Unreachable => Self::Unreachable,
        }
    }
}

impl Instance {
    /// Joins the instance's state with what this replica knows of its backend.
    pub fn new(app: &App, user_id: UserId, instance_id: InstanceId, instance: &tenancy::Instance) -> Self {
        let backend_id = instance.current_placement.as_ref().map(|placement| placement.backend_id);
        let machine = backend_id.and_then(|id| app.follower.fleet().machine(id));
        let connected = machine.as_ref().is_some_and(|machine| machine.connection == ConnectionState::Connected);
        let status = InstanceStatus::from(instance.status_on(connected));
        let observed = instance.last_observation().map(|last| &last.observation);
        let is_failed = matches!(instance.progress, Progress::Failed { .. });
        let failure = is_failed.then(|| backend_reasons(app, instance));
        let heartbeat =
            backend_id.filter(|_| status == InstanceStatus::Unreachable).and_then(|id| app.heartbeats.last(id));
        Self {
            instance_id,
            name: instance.name.plain().map(ToString::to_string),
            user_id,
            backend_id,
            container_id: observed.map(|observed| observed.container_id.clone()),
            status,
            generation: instance.generation,
            ssh_port: observed.map(|observed| observed.ports.ssh),
            http_port: observed.map(|observed| observed.ports.http),
            https_port: observed.map(|observed| observed.ports.https),
            ssh_details: observed.zip(machine.as_ref()).and_then(|(observed, machine)| ssh_details(observed, machine)),
            backend: machine.map(|machine| InstanceBackend {
                name: machine.details.username.plain().map(ToString::to_string),
                status: machine.connection.into(),
            }),
            created_at: instance.created_at,
            last_activity: instance.last_activity,
            failure,
            last_seen: heartbeat.map(|heartbeat| heartbeat.received_at),
            stale: None,
        }
    }

    /// Marks the instance if events are missing.
    #[must_use]
    pub fn stale(self, since: Option<u64>) -> Self {
        Self { stale: since.map(|since| Stale { since }), ..self }
    }
}

fn ssh_details(observed: &Observation, machine: &Machine) -> Option<SshDetails> {
    let host = machine.agent_info.as_ref()?.address.plain()?;
    let port = observed.ports.ssh;
    Some(SshDetails {
        host: host.clone(),
        port,
        username: SSH_USER,
        command: format!("ssh -p {port} {SSH_USER}@{host}"),
        host_keys: observed.host_keys.clone(),
    })
}

/// Why an instance is not in its desired state: the reason of each backend that was tried, the last one at the end.
pub fn backend_reasons(app: &App, instance: &tenancy::Instance) -> Vec<BackendReason> {
    let last = match &instance.progress {
        Progress::Failed { failure } => Some(failure),
        Progress::Pending { .. } | Progress::Stable | Progress::Deleted { .. } => None,
    };
    let reason = |failure: &PlacementFailure| BackendReason {
        backend_id: failure.backend_id,
        backend: app.backend_name(failure.backend_id),
        reason: failure.reason.to_string(),
    };
    instance.placement_failures.iter().chain(last).map(reason).collect()
}
