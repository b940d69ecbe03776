//! `POST /api/v2/user/signout`: ends the session of the request's token, on every replica.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::session::RevokeSession;

use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentUser, USER_COOKIE};
use crate::http::response::documented::{CALLER, COMMAND, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Null, Reply, Success};

error_responses!(SignOutErrors: CALLER, COMMAND);

/// Sign out
///
/// Ends the session of the token that the request carries, on every replica.
#[utoipa::path(
    post,
    path = "/api/v2/user/signout",
    operation_id = "signOut",
    tag = "Users",
    security(("userToken" = []), ("userCookie" = [])),
    responses(
        (status = 200, description = "Signed out.", body = Success<Null>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the sign-out in the log."),
            ("Set-Cookie" = String, description = "Removes the cookie `accessToken`."),
        )),
        SignOutErrors,
    ),
)]
pub async fn post(
    CurrentUser { user_id, session_id }: CurrentUser,
    State(app): State<Arc<App>>,
) -> Result<Reply<Null>, ApiError> {
    let origin = app.origin(Actor::User(user_id));
    let done = app
        .executor
        .execute(user_id.into(), origin, RevokeSession { session_id })
        .await
        .map_err(|error| from_execute(error, |never| match never {}))?;
    let cookie = app.removal_cookie(USER_COOKIE);
    Ok(Reply::ok("signed out", Null).cookie(&cookie).position(app.position(done.current.sequence)))
}
