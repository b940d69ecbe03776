//! `DELETE /api/v2/admin/instances/{id}`: deletes an instance of anyone. Its tests are those of `administer`.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::wire::DesiredState;

use super::administer::{AdministerErrors, AdministerRequest, administer};
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentAdmin, IfMatch, Path, Wait};
use crate::http::operation_wait::Accepted;
use crate::http::response::{ApiError, Reply, Success};
use crate::http::views::Instance;

/// Delete anyone's instance
///
/// Its files are deleted with it.
#[utoipa::path(
    delete,
    path = "/api/v2/admin/instances/{id}",
    operation_id = "deleteAnyInstance",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("id" = Uuid, Path, description = "The instance's id."), IfMatch, Wait),
    request_body = Option<AdministerRequest>,
    responses(
        (status = 200, description = "The instance is deleted.", body = Success<Instance>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        Accepted,
        AdministerErrors,
    ),
)]
pub async fn delete(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    if_match: IfMatch,
    wait: Wait,
    Body(request): Body<AdministerRequest>,
) -> Result<Reply<Instance>, ApiError> {
    administer(&app, app.origin(Actor::Admin(admin)), (&id, if_match), DesiredState::Deleted, request, wait).await
}
