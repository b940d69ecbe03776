//! `POST /api/v2/admin/backends/{backendId}/undrain`: undoes a drain.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::backend::CancelDrain;
use dockhost_domain::envelope::Actor;

use super::change_backend::change;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentAdmin, Path, Repeatable};
use crate::http::response::documented::{ADMIN_OF_COMMAND, COMMAND, REPEATABLE, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::Backend;

error_responses!(UndrainErrors: ADMIN_OF_COMMAND, COMMAND, REPEATABLE, &[Code::NotFound]);

/// Undo the drain of a backend
///
/// It can take new instances again, unless it was cordoned before the drain. Instances that were stopped stay stopped; their
/// owners can resume them. A retirement is undone too.
#[utoipa::path(
    post,
    path = "/api/v2/admin/backends/{backendId}/undrain",
    operation_id = "undrainBackend",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("backendId" = Uuid, Path, description = "The backend's id."), Repeatable),
    responses(
        (status = 200, description = "The backend is not drained.", body = Success<Backend>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        UndrainErrors,
    ),
)]
pub async fn post(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(backend): Path<String>,
    key: Repeatable,
) -> Result<Reply<Backend>, ApiError> {
    change(&app, key.origin(&app, Actor::Admin(admin)), &backend, CancelDrain, "the backend is not drained").await
}
