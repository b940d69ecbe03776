//! `DELETE /api/v2/user/tokens/{tokenId}`: revokes one of the caller's API tokens, on every replica.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::SessionId;
use dockhost_domain::session::{NoSuchToken, RevokeToken};

use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentUser, Path};
use crate::http::response::documented::{CALLER_OF_COMMAND, COMMAND, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Null, Reply, Success};

error_responses!(RevokeApiTokenErrors: CALLER_OF_COMMAND, COMMAND, &[Code::NotFound]);

/// Revoke an API token
///
/// A token that was revoked or has expired is not found.
#[utoipa::path(
    delete,
    path = "/api/v2/user/tokens/{tokenId}",
    operation_id = "revokeToken",
    tag = "Users",
    security(("userToken" = []), ("userCookie" = [])),
    params(("tokenId" = Uuid, Path, description = "The token's id.")),
    responses(
        (status = 200, description = "The token is revoked.", body = Success<Null>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the end in the log."),
        )),
        RevokeApiTokenErrors,
    ),
)]
pub async fn delete(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    Path(token_id): Path<String>,
) -> Result<Reply<Null>, ApiError> {
    let not_found = || ApiError::not_found("API token");
    let session_id: SessionId = token_id.parse().map_err(|_| not_found())?;
    let done = app
        .executor
        .execute(user_id.into(), app.origin(Actor::User(user_id)), RevokeToken { session_id })
        .await
        .map_err(|error| from_execute(error, |NoSuchToken| not_found()))?;
    Ok(Reply::ok("the token is revoked", Null).position(app.position(done.current.sequence)))
}
