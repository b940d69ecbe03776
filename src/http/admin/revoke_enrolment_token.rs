//! `DELETE /api/v2/admin/enrolment-tokens/{tokenId}`: revokes an enrolment token.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::enrolment::{RevokeRejected, RevokeToken};
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::EnrolmentTokenId;
use dockhost_domain::subject::AllEnrolmentTokens;

use super::enrolment_token_view::EnrolmentToken;
use crate::common::clock;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentAdmin, Path};
use crate::http::response::documented::{ADMIN_OF_COMMAND, COMMAND, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};

error_responses!(RevokeTokenErrors: ADMIN_OF_COMMAND, COMMAND, &[Code::NotFound, Code::TokenUsed]);

fn not_found() -> ApiError {
    ApiError::not_found("enrolment token")
}

fn rejected(rejection: RevokeRejected) -> ApiError {
    match rejection {
        RevokeRejected::NotFound => not_found(),
        RevokeRejected::Used(backend) => ApiError::new(
            Code::TokenUsed,
            format!("backend {backend} was registered with it; revoke the key of the backend, or remove it"),
        ),
    }
}

/// Revoke an enrolment token
///
/// No backend can be registered with it any more. A repeated request answers the same.
#[utoipa::path(
    delete,
    path = "/api/v2/admin/enrolment-tokens/{tokenId}",
    operation_id = "revokeEnrolmentToken",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("tokenId" = Uuid, Path, description = "The token's id.")),
    responses(
        (status = 200, description = "The token can't be used.", body = Success<EnrolmentToken>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        RevokeTokenErrors,
    ),
)]
pub async fn delete(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(token): Path<String>,
) -> Result<Reply<EnrolmentToken>, ApiError> {
    let token_id: EnrolmentTokenId = token.parse().map_err(|_| not_found())?;
    let now = clock::now();
    let done = app
        .executor
        .execute(AllEnrolmentTokens, app.origin(Actor::Admin(admin)), RevokeToken { token_id, now })
        .await
        .map_err(|error| from_execute(error, rejected))?;
    let token = done.current.state.get(token_id).ok_or_else(not_found)?;
    let data = EnrolmentToken::new(token_id, token, now);
    Ok(Reply::ok("the token can't be used", data).position(app.position(done.current.sequence)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::{PASSWORD, TestApp};

    const PATH: &str = "/api/v2/admin/enrolment-tokens";

    #[tokio::test]
    async fn revoke_enrolment_token_ends_it_unless_a_backend_used_it() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        let create = || app.post(PATH, json!({})).token(&boss.token).send();
        let revoke = |id: &serde_json::Value| {
            let path = format!("{PATH}/{}", id.as_str().unwrap());
            app.request(axum::http::Method::DELETE, &path).token(&boss.token).send()
        };
        let sign_up = |name: &str, token: &serde_json::Value| {
            let body = json!({ "username": name, "password": PASSWORD, "enrolmentToken": token });
            app.post("/api/v2/backend/signup", body).send()
        };
        let (revoked, used) = (create().await, create().await);
        for _ in 0..2 {
            let answer = revoke(&revoked.data()["token"]["id"]).await;
            assert_eq!((answer.status, &answer.data()["status"]), (200, &json!("revoked")), "{answer:?}");
        }
        let refused = sign_up("lab-1", &revoked.data()["enrolmentToken"]).await;
        assert_eq!(refused.error(), (403, "enrolment_refused"));
        assert_eq!(sign_up("lab-1", &used.data()["enrolmentToken"]).await.status, 201);
        assert_eq!(revoke(&used.data()["token"]["id"]).await.error(), (409, "token_used"));
        for (status, count) in [("used", 1), ("revoked", 1), ("valid", 0), ("expired", 0)] {
            let found = app.get(&format!("{PATH}?status={status}")).token(&boss.token).send().await;
            let items = found.data()["items"].as_array().unwrap_or_else(|| panic!("{found:?}"));
            assert_eq!(items.iter().filter(|one| one["status"] == status).count(), count, "{status}");
            assert_eq!(items.len(), count, "{status}");
        }
        for id in [json!("lab-1"), json!(boss.id)] {
            assert_eq!(revoke(&id).await.error(), (404, "not_found"), "{id}");
        }
    }
}
