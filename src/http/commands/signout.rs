//! `POST /api/v2/user/signout`: the session that the request came with ends, on every replica.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::session::RevokeSession;
use serde_json::Value;

use crate::http::app::App;
use crate::http::extract::caller::{CurrentUser, USER_COOKIE};
use crate::http::response::Reply;
use crate::http::response::error::{ApiError, from_execute};

/// Handles the request.
///
/// # Errors
/// Those of the log.
pub async fn post(State(app): State<Arc<App>>, Extension(caller): Extension<CurrentUser>) -> Result<Reply, ApiError> {
    let CurrentUser { user_id, session_id } = caller;
    let origin = app.origin(Actor::User(user_id));
    let done = app
        .executor
        .execute(user_id.into(), origin, RevokeSession { session_id })
        .await
        .map_err(|error| from_execute(error, |never| match never {}))?;
    let cookie = app.no_cookie(USER_COOKIE);
    Ok(Reply::ok("signed out", Value::Null).cookie(&cookie).position(app.position(done.current.sequence)))
}
