//! `GET /api/v2/backend`: the calling machine's own document, with its last heartbeat.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use dockhost_projections::backends::Backends;
use serde_json::json;

use crate::http::app::App;
use crate::http::consistency;
use crate::http::extract::caller::CurrentBackend;
use crate::http::response::Reply;
use crate::http::response::error::ApiError;

/// Handles the request.
///
/// # Errors
/// `not_found`, `not_caught_up`, `database_unavailable`.
pub async fn get(
    State(app): State<Arc<App>>,
    Extension(CurrentBackend { backend_id }): Extension<CurrentBackend>,
    headers: HeaderMap,
) -> Result<Reply, ApiError> {
    consistency::read_after::<Backends>(&app, &headers).await?;
    let shown = app.store.backend(backend_id).await.map_err(|error| ApiError::database(&error))?;
    let since = consistency::stale_since::<Backends>(&app, shown.stale_since);
    let found = shown.value.ok_or_else(|| ApiError::not_found("backend"))?;
    let last = app.heartbeats.last(backend_id);
    let heartbeat = last.as_ref().map(|last| &last.heartbeat);
    let data = json!({
        "id": backend_id,
        "username": found.username,
        "status": found.status,
        "labName": found.lab_name,
        "operatingSystem": found.operating_system,
        "maxContainers": found.max_containers,
        "address": found.address,
        "runtime": found.runtime,
        "agentVersion": found.agent_version,
        "createdAt": found.enrolled_at,
        "lastSeen": last.as_ref().map(|last| last.received_at),
        "containers": heartbeat.map(|heartbeat| heartbeat.containers),
        "load": heartbeat.map(|heartbeat| heartbeat.load),
        "memory": heartbeat.map(|heartbeat| heartbeat.memory),
    });
    Ok(Reply::ok("your backend", consistency::with_stale(data, since)).stale(since))
}
