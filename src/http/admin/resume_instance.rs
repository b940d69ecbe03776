//! `POST /api/v2/admin/instances/{id}/resume`: resumes an instance of anyone. Its tests are those of `administer`.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::wire::DesiredState;

use super::administer::{AdministerRequest, RepeatableErrors, administer};
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentAdmin, IfMatch, Path, Repeatable, Wait};
use crate::http::operation_wait::Accepted;
use crate::http::response::{ApiError, Reply, Success};
use crate::http::views::Instance;

/// Resume anyone's instance
///
/// Not while the account of its owner is disabled, or its backend is drained.
#[utoipa::path(
    post,
    path = "/api/v2/admin/instances/{id}/resume",
    operation_id = "resumeAnyInstance",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("id" = Uuid, Path, description = "The instance's id."), IfMatch, Wait, Repeatable),
    request_body = Option<AdministerRequest>,
    responses(
        (status = 200, description = "The instance is running.", body = Success<Instance>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        Accepted,
        RepeatableErrors,
    ),
)]
pub async fn post(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    if_match: IfMatch,
    wait: Wait,
    key: Repeatable,
    Body(request): Body<AdministerRequest>,
) -> Result<Reply<Instance>, ApiError> {
    administer(&app, key.origin(&app, Actor::Admin(admin)), (&id, if_match), DesiredState::Running, request, wait).await
}
