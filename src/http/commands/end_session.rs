//! `DELETE /api/v2/user/sessions/{sessionId}`: ends one of the caller's sessions, on every replica.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::SessionId;
use dockhost_domain::session::RevokeSession;

use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentUser, Path};
use crate::http::response::documented::{CALLER_OF_COMMAND, COMMAND, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Null, Reply, Success};

error_responses!(EndSessionErrors: CALLER_OF_COMMAND, COMMAND, &[Code::NotFound]);

/// End a session
///
/// Also if it has ended already. The id is that of `GET /api/v2/user/sessions`.
#[utoipa::path(
    delete,
    path = "/api/v2/user/sessions/{sessionId}",
    operation_id = "endSession",
    tag = "Users",
    security(("userToken" = []), ("userCookie" = [])),
    params(("sessionId" = Uuid, Path, description = "The session's id.")),
    responses(
        (status = 200, description = "The session has ended.", body = Success<Null>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the end in the log."),
        )),
        EndSessionErrors,
    ),
)]
pub async fn delete(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    Path(session_id): Path<String>,
) -> Result<Reply<Null>, ApiError> {
    let session_id: SessionId = session_id.parse().map_err(|_| ApiError::not_found("session"))?;
    let done = app
        .executor
        .execute(user_id.into(), app.origin(Actor::User(user_id)), RevokeSession { session_id })
        .await
        .map_err(|error| from_execute(error, |never| match never {}))?;
    Ok(Reply::ok("the session has ended", Null).position(app.position(done.current.sequence)))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use serde_json::json;

    use crate::http::testing::{PASSWORD, TestApp};

    #[tokio::test]
    async fn session_ended_by_its_id_ends_alone() {
        let app = TestApp::new().await;
        let user = app.signed_up_user("ada").await;
        let body = json!({ "username": "ada", "password": PASSWORD });
        let other =
            app.post("/api/v2/user/signin", body).send().await.data()["accessToken"].as_str().unwrap().to_owned();
        let sessions = app.get("/api/v2/user/sessions").token(&user.token).send().await;
        let listed = sessions.data().as_array().unwrap();
        let id = listed.iter().find(|session| session["isCurrent"] == false).unwrap()["id"].as_str().unwrap();
        let end = |id: &str, token: &str| {
            app.request(Method::DELETE, &format!("/api/v2/user/sessions/{id}")).token(token).send()
        };
        // Nobody ends the sessions of others.
        let eve = app.user("eve").await;
        assert_eq!(end(id, &eve.token).await.status, 200);
        let list = async |token: &str| app.get("/api/v2/user/instance").token(token).send().await.status;
        assert_eq!(list(&other).await, 200);
        for _ in 0..2 {
            assert_eq!(end(id, &user.token).await.status, 200);
        }
        assert_eq!((list(&other).await, list(&user.token).await), (401, 200));
        assert_eq!(end("mine", &user.token).await.error(), (404, "not_found"));
    }
}
