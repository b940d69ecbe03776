//! A backend with everything that this replica knows of it.

use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::backends::BackendDocument;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Backend, Machine};
use crate::broker::dropped::DroppedCount;
use crate::http::app::App;
use crate::http::consistency::Stale;
use crate::http::dockhost_v2::BackendNames;
use crate::replica::heartbeat_registry::LastHeartbeat;

/// A backend with its last heartbeat, whose members are null if this replica has received none.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendWithHeartbeat {
    #[serde(flatten)]
    backend: Backend,
    /// When the last heartbeat arrived.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    last_seen: Option<Timestamp>,
    /// Containers that exist, running or not.
    #[schema(required)]
    containers: Option<u32>,
    /// One-minute load average divided by the number of processors.
    #[schema(required)]
    load: Option<f64>,
    /// Memory in use, 0 to 1.
    #[schema(required)]
    memory: Option<f64>,
    /// How far the machine's clock is ahead of the servers', in milliseconds; negative if it is behind. Nothing depends on it.
    #[schema(required)]
    clock_ahead_ms: Option<i64>,
    /// Messages of its agent that were malformed and so had no effect; null if there were none.
    #[schema(required)]
    malformed_messages: Option<DroppedMessages>,
    /// Messages of other agents with its API key, which had no effect because one agent is connected already; null if there
    /// were none.
    #[schema(required)]
    messages_of_other_agents: Option<DroppedMessages>,
    machine: Machine,
    /// Only if events are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    stale: Option<Stale>,
    #[serde(flatten)]
    dockhost_v2: BackendNames,
}

/// Messages without effect that the answering replica has received since its start. Only the leader receives reports.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DroppedMessages {
    heartbeats: u64,
    reports: u64,
    /// Hellos and confirms.
    requests: u64,
    /// When the last one arrived.
    #[schema(value_type = String, format = DateTime)]
    last_at: Timestamp,
}

impl From<DroppedCount> for DroppedMessages {
    fn from(DroppedCount { heartbeats, reports, requests, last_at }: DroppedCount) -> Self {
        Self { heartbeats, reports, requests, last_at }
    }
}

impl BackendWithHeartbeat {
    /// Joins the document with the last heartbeat; `stale_since` is the first sequence that the document lacks.
    pub fn new(app: &App, document: BackendDocument, stale_since: Option<u64>) -> Self {
        let backend_id = document.backend_id;
        let last = app.heartbeats.last(backend_id);
        let heartbeat = last.as_ref().map(|last| &last.heartbeat);
        let username = document.username.as_ref().map(ToString::to_string);
        let containers = heartbeat.map(|heartbeat| heartbeat.containers);
        Self {
            backend: Backend::from_document(document, &app.heartbeats),
            last_seen: last.as_ref().map(|last| last.received_at),
            containers,
            load: heartbeat.map(|heartbeat| heartbeat.load),
            memory: heartbeat.map(|heartbeat| heartbeat.memory),
            clock_ahead_ms: last.as_ref().map(LastHeartbeat::clock_ahead_millis),
            malformed_messages: app.gate.malformed().of(backend_id).map(DroppedMessages::from),
            messages_of_other_agents: app.gate.of_other_agents().of(backend_id).map(DroppedMessages::from),
            machine: heartbeat.map(Machine::from).unwrap_or_default(),
            stale: stale_since.map(|since| Stale { since }),
            dockhost_v2: BackendNames::new(backend_id, username, containers),
        }
    }
}
