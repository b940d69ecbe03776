//! `DELETE /api/v2/admin/invitations/{invitationId}`: revokes an invitation.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::InvitationId;
use dockhost_domain::invitation::{RevokeInvitation, RevokeInvitationRejected};
use dockhost_domain::subject::AllInvitations;

use super::invitation_view::Invitation;
use crate::common::clock;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentAdmin, Path};
use crate::http::response::documented::{ADMIN_OF_COMMAND, COMMAND, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};

error_responses!(RevokeInvitationErrors: ADMIN_OF_COMMAND, COMMAND, &[Code::NotFound, Code::TokenUsed]);

fn not_found() -> ApiError {
    ApiError::not_found("invitation")
}

fn rejected(rejection: RevokeInvitationRejected) -> ApiError {
    match rejection {
        RevokeInvitationRejected::NotFound => not_found(),
        RevokeInvitationRejected::Used(user) => ApiError::new(
            Code::TokenUsed,
            format!("user {user} signed up with it; disable the account of the user if they should not be here"),
        ),
    }
}

/// Revoke an invitation
///
/// Nobody can sign up with it any more. A repeated request answers the same.
#[utoipa::path(
    delete,
    path = "/api/v2/admin/invitations/{invitationId}",
    operation_id = "revokeInvitation",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("invitationId" = Uuid, Path, description = "The invitation's id.")),
    responses(
        (status = 200, description = "The invitation can't be used.", body = Success<Invitation>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        RevokeInvitationErrors,
    ),
)]
pub async fn delete(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(invitation): Path<String>,
) -> Result<Reply<Invitation>, ApiError> {
    let invitation_id: InvitationId = invitation.parse().map_err(|_| not_found())?;
    let now = clock::now();
    let done = app
        .executor
        .execute(AllInvitations, app.origin(Actor::Admin(admin)), RevokeInvitation { invitation_id, now })
        .await
        .map_err(|error| from_execute(error, rejected))?;
    let invitation = done.current.state.get(invitation_id).ok_or_else(not_found)?;
    let data = Invitation::new(invitation_id, invitation, now);
    Ok(Reply::ok("the invitation can't be used", data).position(app.position(done.current.sequence)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::testing::{PASSWORD, TestApp};

    const PATH: &str = "/api/v2/admin/invitations";

    #[tokio::test]
    async fn revoke_invitation_ends_it_unless_somebody_used_it() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        let create = || app.post(PATH, json!({})).token(&boss.token).send();
        let revoke = |id: &Value| {
            let path = format!("{PATH}/{}", id.as_str().unwrap());
            app.request(axum::http::Method::DELETE, &path).token(&boss.token).send()
        };
        let sign_up = |token: &Value| {
            let body = json!({
                "username": "ada", "email": "ada@example.org", "password": PASSWORD, "invitation": token,
            });
            app.post("/api/v2/user/signup", body).send()
        };
        let (revoked, used) = (create().await, create().await);
        for _ in 0..2 {
            let answer = revoke(&revoked.data()["invitation"]["id"]).await;
            assert_eq!((answer.status, &answer.data()["status"]), (200, &json!("revoked")), "{answer:?}");
        }
        assert_eq!(sign_up(&revoked.data()["token"]).await.error(), (403, "invalid_invitation"));
        let ada = sign_up(&used.data()["token"]).await;
        assert_eq!(ada.status, 201, "{ada:?}");
        assert_eq!(revoke(&used.data()["invitation"]["id"]).await.error(), (409, "token_used"));
        let listed = app.get(PATH).token(&boss.token).send().await;
        let shown = &listed.data()["items"][1];
        assert_eq!((&shown["status"], &shown["userId"]), (&json!("used"), &ada.data()["user"]["id"]));
        for (status, count) in [("used", 1), ("revoked", 1), ("valid", 0), ("expired", 0)] {
            let found = app.get(&format!("{PATH}?status={status}")).token(&boss.token).send().await;
            let items = found.data()["items"].as_array().unwrap_or_else(|| panic!("{found:?}"));
            assert_eq!(items.iter().filter(|one| one["status"] == status).count(), count, "{status}");
            assert_eq!(items.len(), count, "{status}");
        }
        for id in [json!("ada"), json!(boss.id)] {
            assert_eq!(revoke(&id).await.error(), (404, "not_found"), "{id}");
        }
    }
}
