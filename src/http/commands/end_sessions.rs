//! `DELETE /api/v2/user/sessions`: ends all of the caller's sessions but the one of the request, on every replica.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::session::EndSessions;

use super::own_password::end_sessions;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::CurrentUser;
use crate::http::response::documented::{CALLER_OF_COMMAND, COMMAND, error_responses};
use crate::http::response::{ApiError, Null, Reply, Success};

error_responses!(EndSessionsErrors: CALLER_OF_COMMAND, COMMAND);

/// End all other sessions
///
/// Sign out afterwards to end the session of the request too. API tokens stay valid.
#[utoipa::path(
    delete,
    path = "/api/v2/user/sessions",
    operation_id = "endOtherSessions",
    tag = "Users",
    security(("userToken" = []), ("userCookie" = [])),
    responses(
        (status = 200, description = "All other sessions have ended.", body = Success<Null>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the end in the log."),
        )),
        EndSessionsErrors,
    ),
)]
pub async fn delete(
    CurrentUser { user_id, session_id }: CurrentUser,
    State(app): State<Arc<App>>,
) -> Result<Reply<Null>, ApiError> {
    let end = EndSessions { except: Some(session_id), tokens: false };
    let sequence = end_sessions(&app, user_id, end, Actor::User(user_id)).await?;
    Ok(Reply::ok("all other sessions have ended", Null).position(app.position(sequence)))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use serde_json::json;

    use crate::http::testing::{PASSWORD, TestApp};

    #[tokio::test]
    async fn sessions_ended_leave_that_of_the_request_and_those_of_others() {
        let app = TestApp::new().await;
        let (user, eve) = (app.signed_up_user("ada").await, app.user("eve").await);
        let mut others = Vec::new();
        for _ in 0..2 {
            let body = json!({ "username": "ada", "password": PASSWORD });
            let answer = app.post("/api/v2/user/signin", body).send().await;
            others.push(answer.data()["accessToken"].as_str().unwrap().to_owned());
        }
        let ended = app.request(Method::DELETE, "/api/v2/user/sessions").token(&user.token).send().await;
        assert_eq!(ended.status, 200, "{ended:?}");
        let list = async |token: &str| app.get("/api/v2/user/instance").token(token).send().await.status;
        assert_eq!((list(&user.token).await, list(&eve.token).await), (200, 200));
        for token in &others {
            assert_eq!(list(token).await, 401);
        }
        let left = app.get("/api/v2/user/sessions").token(&user.token).send().await;
        assert_eq!(left.data().as_array().unwrap().len(), 1, "{left:?}");
    }
}
