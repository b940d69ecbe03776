//! `DELETE /api/v2/admin/users/{userId}/sessions`: ends all sessions of a user, on every replica.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::Account;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::UserId;
use dockhost_domain::session::EndSessions;

use crate::http::app::App;
use crate::http::commands::own_password::end_sessions;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentAdmin, Path};
use crate::http::response::documented::{ADMIN_OF_COMMAND, COMMAND, error_responses};
use crate::http::response::{ApiError, Code, Null, Reply, Success};

error_responses!(EndUserSessionsErrors: ADMIN_OF_COMMAND, COMMAND, &[Code::NotFound]);

/// End all sessions of a user
///
/// As if they had signed out everywhere and revoked all their API tokens. They can sign in again.
#[utoipa::path(
    delete,
    path = "/api/v2/admin/users/{userId}/sessions",
    operation_id = "endUserSessions",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("userId" = Uuid, Path, description = "The user's id.")),
    responses(
        (status = 200, description = "All sessions of the user have ended.", body = Success<Null>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the end in the log."),
        )),
        EndUserSessionsErrors,
    ),
)]
pub async fn delete(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(user_id): Path<String>,
) -> Result<Reply<Null>, ApiError> {
    let not_found = || ApiError::not_found("user");
    let user_id: UserId = user_id.parse().map_err(|_| not_found())?;
    if app.executor.confirmed::<Account>(user_id).await?.state.profile.is_none() {
        return Err(not_found());
    }
    let end = EndSessions { except: None, tokens: true };
    let sequence = end_sessions(&app, user_id, end, Actor::Admin(admin)).await?;
    Ok(Reply::ok("all sessions of the user have ended", Null).position(app.position(sequence)))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use dockhost_domain::envelope::Actor;
    use serde_json::json;

    use crate::http::testing::{PASSWORD, TestApp};

    #[tokio::test]
    async fn sessions_of_a_user_ended_by_an_administrator_end_alone() {
        let app = TestApp::new().await;
        let (boss, ada) = (app.admin("boss").await, app.signed_up_user("ada").await);
        let body = json!({ "username": "ada", "password": PASSWORD });
        let sign_in = || app.post("/api/v2/user/signin", body.clone()).send();
        let other = sign_in().await.data()["accessToken"].as_str().unwrap().to_owned();
        let end = |id: &str| {
            let path = format!("/api/v2/admin/users/{id}/sessions");
            app.request(Method::DELETE, &path).token(&boss.token).send()
        };
        let answer = end(&ada.id.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let events = app.log.events();
        assert_eq!(events.last().unwrap().envelope.origin.actor, Actor::Admin(boss.id));
        for token in [&ada.token, &other] {
            assert_eq!(app.get("/api/v2/user/instance").token(token).send().await.status, 401);
        }
        assert_eq!(sign_in().await.status, 200);
        assert_eq!(app.get("/api/v2/user/instance").token(&boss.token).send().await.status, 200);
        for id in ["boss", "0193b3a0-0000-7000-8000-000000000001"] {
            assert_eq!(end(id).await.error(), (404, "not_found"), "{id}");
        }
    }
}
