//! `GET /api/v2/admin/instances/{instanceId}/history`: what happened to an instance of any user, deleted or not.

use std::sync::Arc;

use axum::extract::State;
use dockhost_projections::instances::Instances;

use crate::http::app::App;
use crate::http::consistency::{self, LogPosition};
use crate::http::extract::{CurrentAdmin, Path, Query, ReadPosition};
use crate::http::past::history::{self, HistoryParameters, InstanceHistory, Reader};
use crate::http::response::documented::{ADMIN, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};

error_responses!(AnyHistoryErrors: ADMIN, READ_MODEL, &[Code::NotFound, Code::ValidationFailed]);

/// Get the history of any instance
///
/// Each event of the instance with its cause and what it changed, the first one first; also after it was deleted.
#[utoipa::path(
    get,
    path = "/api/v2/admin/instances/{instanceId}/history",
    operation_id = "getAnyInstanceHistory",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(
        ("instanceId" = Uuid, Path, description = "The instance's id."),
        HistoryParameters,
        ReadPosition,
    ),
    responses(
        (status = 200, description = "What happened.", body = Success<InstanceHistory>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("Dockhost-Stale" = u64, description = "If events are missing: the first sequence that is."),
        )),
        AnyHistoryErrors,
    ),
)]
pub async fn get(
    CurrentAdmin { user_id }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    position: ReadPosition,
    Query(parameters): Query<HistoryParameters>,
) -> Result<Reply<InstanceHistory>, ApiError> {
    let not_found = || ApiError::not_found("instance");
    let id = id.parse().map_err(|_| not_found())?;
    let found = consistency::read::<Instances, _>(&app, position, || app.store.instance(id)).await?;
    let instance = found.value.ok_or_else(not_found)?;
    history::page(&app, Reader::Administrator(user_id), &instance, &parameters).await
}
