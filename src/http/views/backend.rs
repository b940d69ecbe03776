//! A backend.

use dockhost_domain::backend::{ConnectionState, Machine};
use dockhost_domain::ids::BackendId;
use dockhost_domain::personal::Personal;
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::backends::BackendDocument;
use serde::Serialize;
use utoipa::ToSchema;

/// A backend. What its agent reports is null until the agent has connected for the first time.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    #[schema(value_type = Uuid)]
    id: BackendId,
    #[schema(required)]
    username: Option<String>,
    status: BackendStatus,
    #[schema(required)]
    lab_name: Option<String>,
    #[schema(required)]
    operating_system: Option<String>,
    /// The most containers that it runs.
    max_containers: u32,
    /// Where clients reach the ports of its containers.
    #[schema(required)]
    address: Option<String>,
    /// `docker`, `podman` or `simulated`.
    #[schema(required)]
    runtime: Option<String>,
    #[schema(required)]
    agent_version: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// `enrolled` until the agent connects for the first time, then `connected` or `lost`.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BackendStatus {
    Enrolled,
    Connected,
    Lost,
}

impl From<ConnectionState> for BackendStatus {
    fn from(state: ConnectionState) -> Self {
        match state {
            ConnectionState::Enrolled => Self::Enrolled,
            ConnectionState::Connected => Self::Connected,
            ConnectionState::Lost => Self::Lost,
        }
    }
}

fn plain(value: Option<&Personal<String>>) -> Option<String> {
    value.and_then(|value| value.plain().cloned())
}

impl Backend {
    /// From the aggregate's state.
    pub fn new(id: BackendId, machine: &Machine) -> Self {
        let (details, agent) = (&machine.details, machine.agent_info.as_ref());
        Self {
            id,
            username: details.username.plain().map(ToString::to_string),
            status: machine.connection.into(),
            lab_name: plain(details.lab_name.as_ref()),
            operating_system: plain(details.operating_system.as_ref()),
            max_containers: details.max_containers,
            address: plain(agent.map(|agent| &agent.address)),
            runtime: agent.map(|agent| agent.runtime.clone()),
            agent_version: agent.map(|agent| agent.agent_version.clone()),
            created_at: machine.enrolled_at,
        }
    }
}

/// From the read model.
impl From<BackendDocument> for Backend {
    fn from(document: BackendDocument) -> Self {
        Self {
            id: document.backend_id,
            username: document.username.map(String::from),
            status: document.status.into(),
            lab_name: document.lab_name,
            operating_system: document.operating_system,
            max_containers: document.max_containers,
            address: document.address,
            runtime: document.runtime,
            agent_version: document.agent_version,
            created_at: document.enrolled_at,
        }
    }
}
