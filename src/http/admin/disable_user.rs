//! `POST /api/v2/admin/users/{userId}/disable`: disables the account of a user.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::{Disabled, DisabledInstances};
use dockhost_domain::administrators::{AdministratorsRejected, ChangedBy};
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::UserId;
use dockhost_domain::reported::ShortText;
use dockhost_projections::users::Users;
use serde::Deserialize;
use utoipa::ToSchema;

use super::user_view::AdminUser;
use crate::accounts::disable::{DisableRejected, disable};
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentAdmin, Path, Repeatable};
use crate::http::response::documented::{ADMIN_OF_COMMAND, BODY, COMMAND, REPEATABLE, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};

/// How the account is disabled.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "instances": "stop", "reason": "The course is over." })))]
pub struct DisableUserRequest {
    /// What happens to the running instances, by default `stop`.
    #[garde(skip)]
    instances: Option<InstancesOfDisabled>,
    /// What the user is told when they sign in.
    #[garde(skip)]
    #[schema(
        value_type = Option<String>,
        max_length = 256,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]*$"
    )]
    reason: Option<ShortText>,
}

/// What happens to the running instances of a user whose account is disabled.
///
/// - `stop`: they are stopped, and keep their files.
/// - `leave`: they go on.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum InstancesOfDisabled {
    Stop,
    Leave,
}

impl DisableUserRequest {
    fn disabled(self) -> Disabled {
        let instances = match self.instances {
            None | Some(InstancesOfDisabled::Stop) => DisabledInstances::Stop,
            Some(InstancesOfDisabled::Leave) => DisabledInstances::Leave,
        };
        let reason = self.reason.map(String::from).filter(|reason| !reason.is_empty());
        Disabled { reason: reason.map(Into::into), instances }
    }
}

error_responses!(
    DisableUserErrors: ADMIN_OF_COMMAND, BODY, COMMAND, REPEATABLE, &[Code::NotFound, Code::LastAdministrator]
);

/// The answer to a rejection.
pub fn rejected(rejection: &DisableRejected) -> ApiError {
    match rejection {
        DisableRejected::NoSuchAccount(_) => ApiError::not_found("user"),
        DisableRejected::Administrators(AdministratorsRejected::Last) => {
            ApiError::new(Code::LastAdministrator, rejection.to_string())
        }
        DisableRejected::Administrators(AdministratorsRejected::NotByAdministrator) => {
            ApiError::new(Code::Forbidden, rejection.to_string())
        }
    }
}

/// Disable a user
///
/// All sessions end, on every replica, and nobody can sign in, or create or resume an instance of this user, until the
/// account is enabled again. The role of an administrator is taken away for good; the last one can't be disabled. Instances
/// are stopped after the answer.
#[utoipa::path(
    post,
    path = "/api/v2/admin/users/{userId}/disable",
    operation_id = "disableUser",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("userId" = Uuid, Path, description = "The user's id."), Repeatable),
    request_body = Option<DisableUserRequest>,
    responses(
        (status = 200, description = "The account is disabled.", body = Success<AdminUser>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the change in the log."),
        )),
        DisableUserErrors,
    ),
)]
pub async fn post(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(user_id): Path<String>,
    key: Repeatable,
    Body(request): Body<DisableUserRequest>,
) -> Result<Reply<AdminUser>, ApiError> {
    let user_id: UserId = user_id.parse().map_err(|_| ApiError::not_found("user"))?;
    let (by, origin) = (ChangedBy::Admin(admin), key.origin(&app, Actor::Admin(admin)));
    let sequence = disable(&app.executor, user_id, request.disabled(), by, &origin)
        .await
        .map_err(|error| from_execute(error, |rejection| rejected(&rejection)))?;
    app.wait_until_projected::<Users>(sequence).await;
    let user = AdminUser::current(&app, user_id).await?;
    Ok(Reply::ok("the account is disabled", user).position(app.position(sequence)))
}

#[cfg(test)]
mod tests {
    use dockhost_domain::ids::UserId;
    use serde_json::{Value, json};

    use crate::http::testing::{Answer, Caller, PASSWORD, TestApp};

    async fn post(app: &TestApp, caller: &Caller<UserId>, user: UserId, action: &str, body: Value) -> Answer {
        app.post(&format!("/api/v2/admin/users/{user}/{action}"), body).token(&caller.token).send().await
    }

    #[tokio::test]
    async fn user_disabled_has_no_session_and_cannot_sign_in_until_enabled() {
        let app = TestApp::new().await;
        let (boss, ada) = (app.admin("boss").await, app.signed_up_user("ada").await);
        let answer = post(&app, &boss, ada.id, "disable", json!({ "reason": "The course is over." })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let shown = answer.data();
        assert_eq!(
            (&shown["username"], &shown["state"], &shown["disabledReason"]),
            (&json!("ada"), &json!("disabled"), &json!("The course is over."))
        );
        let listed = app.get(&format!("/api/v2/admin/users/{}", ada.id)).token(&boss.token).send().await;
        assert_eq!(listed.data(), shown);

        let list = || app.get("/api/v2/user/instance").token(&ada.token).send();
        assert_eq!(list().await.error(), (401, "unauthorized"));
        let sign_in = async |password: &str| {
            app.post("/api/v2/user/signin", json!({ "username": "ada", "password": password })).send().await
        };
        let refused = sign_in(PASSWORD).await;
        assert_eq!(refused.error(), (403, "account_disabled"));
        assert_eq!(refused.body["message"], "an administrator disabled this account: The course is over.");
        // Only the right password reveals it.
        assert_eq!(sign_in("battery staple").await.error(), (401, "invalid_credentials"));

        let enabled = post(&app, &boss, ada.id, "enable", json!({})).await;
        assert_eq!((enabled.status, &enabled.data()["state"]), (200, &json!("active")), "{enabled:?}");
        assert_eq!(enabled.data()["disabledReason"], Value::Null);
        assert_eq!(sign_in(PASSWORD).await.status, 200);
        assert_eq!(list().await.error(), (401, "unauthorized"), "a session that ended stays ended");
    }

    #[tokio::test]
    async fn user_disabled_is_listed_by_the_state() {
        let app = TestApp::new().await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        assert_eq!(post(&app, &boss, ada.id, "disable", json!({})).await.status, 200);
        for (query, expected) in [
            ("", &["boss", "ada"][..]),
            ("?state=active", &["boss"]),
            ("?state=disabled", &["ada"]),
            ("?state=erased", &[]),
        ] {
            let answer = app.get(&format!("/api/v2/admin/users{query}")).token(&boss.token).send().await;
            let items = answer.data()["items"].as_array().unwrap().clone();
            let names: Vec<_> = items.iter().map(|user| user["username"].as_str().unwrap()).collect();
            assert_eq!(names, expected, "{query}");
        }
    }

    #[tokio::test]
    async fn user_disabled_is_no_administrator_any_more_and_the_last_one_stays() {
        let app = TestApp::new().await;
        let (boss, ada) = (app.admin("boss").await, app.admin("ada").await);
        let answer = post(&app, &boss, ada.id, "disable", json!({ "instances": "leave" })).await;
        assert_eq!((answer.status, &answer.data()["role"]), (200, &json!("user")), "{answer:?}");
        let role = app.put(&format!("/api/v2/admin/users/{}/role", ada.id), json!({ "role": "admin" }));
        assert_eq!(role.token(&boss.token).send().await.error(), (403, "account_disabled"));
        assert_eq!(post(&app, &boss, boss.id, "disable", json!({})).await.error(), (409, "last_administrator"));
        assert_eq!(post(&app, &boss, ada.id, "enable", json!({})).await.data()["role"], "user");
    }

    #[tokio::test]
    async fn user_disabled_twice_or_unknown_changes_nothing() {
        let app = TestApp::new().await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        let first = post(&app, &boss, ada.id, "disable", json!({})).await;
        let events = app.log.events().len();
        let second = post(&app, &boss, ada.id, "disable", json!({ "instances": "stop", "reason": "" })).await;
        assert_eq!((second.status, app.log.events().len()), (200, events));
        assert_eq!(second.header("dockhost-position"), first.header("dockhost-position"));
        for action in ["disable", "enable"] {
            for id in ["boss", "0193b3a0-0000-7000-8000-000000000001", "%ff"] {
                let path = format!("/api/v2/admin/users/{id}/{action}");
                let answer = app.post(&path, json!({})).token(&boss.token).send().await;
                assert_eq!(answer.error(), (404, "not_found"), "{id}");
            }
        }
        let answer = post(&app, &boss, ada.id, "disable", json!({ "reason": "a\nb" })).await;
        assert_eq!(answer.error(), (422, "validation_failed"));
    }
}
