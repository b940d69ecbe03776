//! `GET /api/v2/admin/backends/{backendId}/drain`: how far a drain is.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::backend::{self, Drain};
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::tenancy::DrainStep;
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::instances::{InstanceDocument, InstanceFilter, Instances};
use dockhost_projections::store::Page;
use serde::Serialize;
use utoipa::ToSchema;

use super::change_backend::backend_id;
use crate::http::app::App;
use crate::http::consistency::{self, LogPosition};
use crate::http::extract::{CurrentAdmin, Path, ReadPosition};
use crate::http::response::documented::{ADMIN, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};

/// A backend has at most as many instances.
const MAX_INSTANCES: u32 = 3000;
/// As many are listed.
const MAX_LISTED: usize = 200;

/// How far a drain is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainProgress {
    status: DrainStatus,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    deadline: Timestamp,
    /// When nothing was left, or the deadline passed.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    ended_at: Option<Timestamp>,
    /// Whether the backend is removed as soon as it has no instances.
    retire: bool,
    /// Instances that run, or are being created, stopped or deleted.
    left: usize,
    /// Instances that are stopped. Their files are on the backend.
    stopped: usize,
    /// Instances that were created again on other backends and still exist.
    moved: usize,
    /// Instances that could not be stopped. If the backend can stop them later, it does.
    stayed: usize,
    /// The first 200 of those that are not stopped.
    instances: Vec<DrainedInstance>,
}

/// - `draining`: instances are being stopped.
/// - `ended`: nothing was left, or the deadline passed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum DrainStatus {
    Draining,
    Ended,
}

/// An instance that is not stopped.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DrainedInstance {
    #[schema(value_type = Uuid)]
    instance_id: InstanceId,
    #[schema(value_type = Uuid)]
    user_id: UserId,
    state: DrainedState,
    /// Why it stayed.
    #[schema(required)]
    reason: Option<String>,
}

/// - `running`: it is stopped next, or the drain has ended.
/// - `creating`: it is stopped when it runs.
/// - `ending`: it is being stopped or deleted.
/// - `stayed`: it could not be stopped.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum DrainedState {
    Running,
    Creating,
    Ending,
    Stayed,
}

impl DrainProgress {
    fn new(drain: &Drain) -> Self {
        Self {
            status: if drain.ended_at.is_some() { DrainStatus::Ended } else { DrainStatus::Draining },
            started_at: drain.started_at,
            deadline: drain.deadline,
            ended_at: drain.ended_at,
            retire: drain.retire,
            left: 0,
            stopped: 0,
            moved: 0,
            stayed: 0,
            instances: Vec::new(),
        }
    }

    fn add(&mut self, document: &InstanceDocument, step: DrainStep<'_>) {
        let state = match step {
            DrainStep::Stopped => {
                self.stopped += 1;
                return;
            }
            DrainStep::Running => DrainedState::Running,
            DrainStep::Creating => DrainedState::Creating,
            DrainStep::Ending => DrainedState::Ending,
            DrainStep::Stayed(_) => DrainedState::Stayed,
        };
        let reason = if let DrainStep::Stayed(failure) = step {
            self.stayed += 1;
            Some(format!("its backend {}", failure.reason.explain()))
        } else {
            self.left += 1;
            None
        };
        if self.instances.len() < MAX_LISTED {
            let (instance_id, user_id) = (document.instance_id, document.user_id);
            self.instances.push(DrainedInstance { instance_id, user_id, state, reason });
        }
    }
}

error_responses!(DrainProgressErrors: ADMIN, READ_MODEL, &[Code::NotFound]);

/// Show how far a drain is
///
/// `not_found` if the backend is not drained.
#[utoipa::path(
    get,
    path = "/api/v2/admin/backends/{backendId}/drain",
    operation_id = "getDrain",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("backendId" = Uuid, Path, description = "The backend's id."), ReadPosition),
    responses(
        (status = 200, description = "How far the drain is.", body = Success<DrainProgress>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("Dockhost-Stale" = u64, description = "If events are missing: the first sequence that is."),
        )),
        DrainProgressErrors,
    ),
)]
pub async fn get(
    CurrentAdmin { .. }: CurrentAdmin,
    State(app): State<Arc<App>>,
    position: ReadPosition,
    Path(backend): Path<String>,
) -> Result<Reply<DrainProgress>, ApiError> {
    let id = backend_id(&backend)?;
    let state = app.executor.confirmed::<backend::Backend>(id).await?;
    let machine = state.state.machine.as_ref().ok_or_else(|| ApiError::not_found("backend"))?;
    let drain = machine.drain.ok_or_else(|| ApiError::new(Code::NotFound, "the backend is not being drained"))?;
    let filter = InstanceFilter { backend: Some(id), ..InstanceFilter::default() };
    let page = Page { after: None, limit: MAX_INSTANCES };
    let moved_filter = InstanceFilter { drained_from: Some((id, drain.started_at)), ..InstanceFilter::default() };
    let moved = || app.store.instances_of_all(&moved_filter, page);
    let moved = consistency::read::<Instances, _>(&app, position, moved).await?;
    let found = consistency::read::<Instances, _>(&app, position, || app.store.instances_of_all(&filter, page)).await?;
    let mut progress = DrainProgress { moved: moved.value.len(), ..DrainProgress::new(&drain) };
    for document in &found.value {
        if let Some(step) = document.state.drain_step(id) {
            progress.add(document, step);
        }
    }
    let shown = found.position(&app, found.value.iter().map(|instance| instance.seq));
    Ok(Reply::ok("how far the drain is", progress).stale(found.stale_since).position(shown))
}
