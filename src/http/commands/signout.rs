//! `POST /api/v2/user/signout`: ends the session of the request's token, on every replica.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::session::RevokeSession;

use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentSession, USER_COOKIE};
use crate::http::response::documented::{COMMAND, SESSION_OF_COMMAND, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Null, Reply, Success};

error_responses!(SignOutErrors: SESSION_OF_COMMAND, COMMAND);

/// Sign out
///
/// Ends the session of the token that the request carries, on every replica. An API token is revoked.
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
    CurrentSession { user_id, session_id }: CurrentSession,
    State(app): State<Arc<App>>,
) -> Result<Reply<Null>, ApiError> {
    let origin = app.origin(Actor::User(user_id));
    let done = app
        .executor
        .execute(user_id.into(), origin, RevokeSession { session_id })
        .await
        .map_err(|error| from_execute(error, |never| match never {}))?;
    let cookies = app.removal_cookies(USER_COOKIE);
    Ok(Reply::ok("signed out", Null).cookies(cookies).position(app.position(done.current.sequence)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn sign_out_ends_the_session_of_its_token_only() {
        let app = TestApp::new().await;
        let (first, second) = (app.user("ada").await, app.user("eve").await);
        let answer = app.post("/api/v2/user/signout", json!({})).token(&first.token).send().await;
        assert_eq!((answer.status, answer.data()), (200, &Value::Null), "{answer:?}");
        assert_eq!(answer.cookie("accessToken").as_deref(), Some(""));
        assert!(answer.header("set-cookie").unwrap().contains("Max-Age=0"), "{answer:?}");
        let list = |token: &str| app.get("/api/v2/user/instance").token(token).send();
        assert_eq!(list(&first.token).await.error(), (401, "unauthorized"));
        assert_eq!(list(&second.token).await.status, 200);
    }
}
