//! `POST /api/v2/admin/backends/{backendId}/revoke`: revokes the API key of a backend.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::backend::RevokeKey;
use dockhost_domain::envelope::Actor;

use super::change_backend::change;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentAdmin, Path, Repeatable};
use crate::http::response::documented::{ADMIN_OF_COMMAND, COMMAND, REPEATABLE, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::Backend;

error_responses!(RevokeKeyErrors: ADMIN_OF_COMMAND, COMMAND, REPEATABLE, &[Code::NotFound]);

/// Revoke a backend's key
///
/// Its agent's connections are closed, and no key is valid until another is issued. Its instances stay and are `unreachable`.
#[utoipa::path(
    post,
    path = "/api/v2/admin/backends/{backendId}/revoke",
    operation_id = "revokeBackendKey",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("backendId" = Uuid, Path, description = "The backend's id."), Repeatable),
    responses(
        (status = 200, description = "The backend has no valid key.", body = Success<Backend>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        RevokeKeyErrors,
    ),
)]
pub async fn post(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(backend): Path<String>,
    key: Repeatable,
) -> Result<Reply<Backend>, ApiError> {
    change(&app, key.origin(&app, Actor::Admin(admin)), &backend, RevokeKey, "the key is revoked").await
}
