//! `POST /api/v2/admin/backends/{backendId}/uncordon`: lets a backend take new instances again.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::backend::ChangeCordon;
use dockhost_domain::envelope::Actor;

use super::change_backend::change;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentAdmin, Path, Repeatable};
use crate::http::response::documented::{ADMIN_OF_COMMAND, COMMAND, REPEATABLE, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::Backend;

error_responses!(UncordonErrors: ADMIN_OF_COMMAND, COMMAND, REPEATABLE, &[Code::NotFound]);

/// Uncordon a backend
///
/// It can take new instances again.
#[utoipa::path(
    post,
    path = "/api/v2/admin/backends/{backendId}/uncordon",
    operation_id = "uncordonBackend",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("backendId" = Uuid, Path, description = "The backend's id."), Repeatable),
    responses(
        (status = 200, description = "The backend is not cordoned.", body = Success<Backend>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        UncordonErrors,
    ),
)]
pub async fn post(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(backend): Path<String>,
    key: Repeatable,
) -> Result<Reply<Backend>, ApiError> {
    change(
        &app,
        key.origin(&app, Actor::Admin(admin)),
        &backend,
        ChangeCordon { cordoned: false },
        "the backend is not cordoned",
    )
    .await
}
