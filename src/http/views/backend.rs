//! A backend.

use std::str::FromStr;

use dockhost_domain::backend::{Admission, Connected, ConnectionState, Drain, Machine};
use dockhost_domain::ids::BackendId;
use dockhost_domain::labels::Labels;
use dockhost_domain::personal::Personal;
use dockhost_domain::reported::{BackendAddress, ShortText};
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::backends::BackendDocument;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::LabelMap;
use crate::http::version::Version;
use crate::replica::fleet_health::Problem;
use crate::replica::heartbeat_registry::HeartbeatRegistry;

/// A backend. What its agent reports is null until the agent has connected for the first time, and if it is invalid.
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
    /// The most containers that it runs: what an administrator set, or else what it asked for when it was registered; and
    /// no more than its agent is configured for.
    max_containers: u32,
    /// The most containers that it asked for when it was registered.
    requested_max_containers: u32,
    /// What an administrator says about it; instances may require it.
    #[schema(value_type = LabelMap)]
    labels: Labels,
    /// Whether an administrator keeps new instances away from it. Those that are on it can be stopped, resumed and deleted.
    cordoned: bool,
    /// The drain that was not undone; `GET …/drain` shows how far it is.
    #[schema(required)]
    drain: Option<BackendDrain>,
    /// Whether an administrator revoked the key of its agent.
    key_revoked: bool,
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

/// A drain.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BackendDrain {
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    deadline: Timestamp,
    /// When nothing was left, or the deadline passed.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    ended_at: Option<Timestamp>,
    /// Whether the backend is removed as soon as it has no instances.
    retire: bool,
}

impl From<Drain> for BackendDrain {
    fn from(drain: Drain) -> Self {
        let Drain { started_at, deadline, ended_at, retire, was_cordoned: _ } = drain;
        Self { started_at, deadline, ended_at, retire }
    }
}

/// - `pending`: it gets no instances before an administrator approves it. Its agent may connect.
/// - `enrolled`: its agent has never connected.
/// - `connected`: it can take instances.
/// - `degraded`: its agent is connected, but it can't take new instances now: its container engine does not answer, or
///   it lacks the image.
/// - `lost`: its agent sends no heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BackendStatus {
    Pending,
    Enrolled,
    Connected,
    Degraded,
    Lost,
}

impl BackendStatus {
    /// Whether its agent is connected.
    pub const fn is_connected(self) -> bool {
        matches!(self, Self::Connected | Self::Degraded)
    }

    /// By the log and by what this replica hears of it.
    pub fn now(admission: Admission, state: ConnectionState, problem: Option<Problem>) -> Self {
        match (admission, state, problem) {
            (Admission::Pending, ..) => Self::Pending,
            (_, ConnectionState::Enrolled, _) => Self::Enrolled,
            (_, ConnectionState::Lost, _) | (.., Some(Problem::Silent)) => Self::Lost,
            (.., Some(problem)) if problem.prevents_instances() => Self::Degraded,
            _ => Self::Connected,
        }
    }
}

fn plain(value: Option<&Personal<String>>) -> Option<String> {
    value.and_then(|value| value.plain().cloned())
}

/// The text if it is valid: earlier releases recorded whatever an agent sent.
fn valid<T: FromStr + Into<String>>(text: &str) -> Option<String> {
    text.parse::<T>().ok().map(Into::into)
}

/// What administrators change of a backend, without what its agent reports.
#[derive(Serialize)]
struct Settings<'a> {
    max_containers: u32,
    labels: &'a Labels,
    is_cordoned: bool,
    drain: Option<Drain>,
    is_key_revoked: bool,
    is_pending: bool,
}

/// The version of what administrators change of a backend.
pub fn version_of_machine(machine: &Machine) -> Version {
    Version::of(&Settings {
        max_containers: machine.max_containers(),
        labels: &machine.labels,
        is_cordoned: machine.is_cordoned,
        drain: machine.drain,
        is_key_revoked: machine.is_key_revoked,
        is_pending: machine.admission == Admission::Pending,
    })
}

/// The same from the read model.
pub fn version_of_document(document: &BackendDocument) -> Version {
    Version::of(&Settings {
        max_containers: document.max_containers,
        labels: &document.labels,
        is_cordoned: document.cordoned_at.is_some(),
        drain: document.drain,
        is_key_revoked: document.key_revoked_at.is_some(),
        is_pending: document.awaits_approval,
    })
}

impl Backend {
    /// From the aggregate's state, and by what this replica hears of it.
    pub fn new(id: BackendId, machine: &Machine, heartbeats: &HeartbeatRegistry) -> Self {
        let (details, agent) = (&machine.details, machine.agent_info.as_ref());
        Self {
            id,
            username: details.username.plain().map(ToString::to_string),
            status: BackendStatus::now(machine.admission, machine.connection, heartbeats.problem(id)),
            lab_name: plain(details.lab_name.as_ref()),
            operating_system: plain(details.operating_system.as_ref()),
            max_containers: machine.max_containers().min(heartbeats.now(id).max_containers.unwrap_or(u32::MAX)),
            requested_max_containers: details.max_containers,
            labels: machine.labels.clone(),
            cordoned: machine.is_cordoned,
            drain: machine.drain.map(BackendDrain::from),
            key_revoked: machine.is_key_revoked,
            address: agent.and_then(Connected::valid_address).map(String::from),
            runtime: agent.and_then(|agent| valid::<ShortText>(&agent.runtime)),
            agent_version: agent.and_then(|agent| valid::<ShortText>(&agent.agent_version)),
            created_at: machine.enrolled_at,
        }
    }
}

impl Backend {
    /// From the read model, and by what this replica hears of it.
    pub fn from_document(document: BackendDocument, heartbeats: &HeartbeatRegistry) -> Self {
        let said = heartbeats.now(document.backend_id);
        let admission = if document.awaits_approval { Admission::Pending } else { Admission::Approved };
        Self {
            id: document.backend_id,
            username: document.username.map(String::from),
            status: BackendStatus::now(admission, document.status, heartbeats.problem(document.backend_id)),
            lab_name: document.lab_name,
            operating_system: document.operating_system,
            max_containers: document.max_containers.min(said.max_containers.unwrap_or(u32::MAX)),
            requested_max_containers: document.requested_max_containers,
            labels: document.labels,
            cordoned: document.cordoned_at.is_some(),
            drain: document.drain.map(BackendDrain::from),
            key_revoked: document.key_revoked_at.is_some(),
            address: document.address.as_deref().and_then(valid::<BackendAddress>),
            runtime: document.runtime.as_deref().and_then(valid::<ShortText>),
            agent_version: document.agent_version.as_deref().and_then(valid::<ShortText>),
            created_at: document.enrolled_at,
        }
    }
}
