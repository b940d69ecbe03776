//! `DELETE /api/v2/admin/sessions/{sessionId}`: ends a session of anybody, on every replica.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::SessionId;
use dockhost_domain::session::RevokeSession;
use dockhost_projections::sessions::Sessions;

use crate::http::app::App;
use crate::http::consistency::{self, LogPosition};
use crate::http::extract::{CurrentAdmin, Path, ReadPosition};
use crate::http::response::documented::{ADMIN_OF_COMMAND, COMMAND, READ_MODEL, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Null, Reply, Success};

error_responses!(EndAnySessionErrors: ADMIN_OF_COMMAND, COMMAND, READ_MODEL, &[Code::NotFound]);

/// End a session of anybody
///
/// Also if it has ended already, and also if it is an API token. The id is that of `GET /api/v2/admin/sessions`.
#[utoipa::path(
    delete,
    path = "/api/v2/admin/sessions/{sessionId}",
    operation_id = "endAnySession",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("sessionId" = Uuid, Path, description = "The session's id."), ReadPosition),
    responses(
        (status = 200, description = "The session has ended.", body = Success<Null>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the end in the log."),
        )),
        EndAnySessionErrors,
    ),
)]
pub async fn delete(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    position: ReadPosition,
    Path(session_id): Path<String>,
) -> Result<Reply<Null>, ApiError> {
    let not_found = || ApiError::not_found("session");
    let session_id: SessionId = session_id.parse().map_err(|_| not_found())?;
    // Only the read model knows whose a session is. Whether it goes on is then decided on the log.
    let found = consistency::read::<Sessions, _>(&app, position, || app.store.session(session_id)).await?;
    let owner = found.value.ok_or_else(not_found)?.principal_id;
    let done = app
        .executor
        .execute(owner, app.origin(Actor::Admin(admin)), RevokeSession { session_id })
        .await
        .map_err(|error| from_execute(error, |never| match never {}))?;
    app.wait_until_projected::<Sessions>(done.current.sequence).await;
    Ok(Reply::ok("the session has ended", Null).position(app.position(done.current.sequence)))
}
