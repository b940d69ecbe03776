//! `PUT /api/v2/admin/users/{userId}/role`: makes a user an administrator, or takes that away.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::{self, Account};
use dockhost_domain::administrators::{AdministratorsRejected, ChangedBy};
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::UserId;
use dockhost_projections::users::Users;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::accounts::role::{RoleRejected, change_role};
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentAdmin, Path};
use crate::http::response::documented::{ADMIN_OF_COMMAND, BODY, COMMAND, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::{Role, User};

/// A role for a user.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RoleRequest, examples(json!({ "role": "admin" })))]
pub struct RoleRequest {
    #[garde(skip)]
    role: Role,
}

error_responses!(
    ChangeRoleErrors: ADMIN_OF_COMMAND, BODY, COMMAND, &[Code::NotFound, Code::AccountDisabled, Code::LastAdministrator]
);

fn rejected(rejection: &RoleRejected) -> ApiError {
    match rejection {
        RoleRejected::Account(account::RoleRejected::NoSuchAccount) => ApiError::not_found("user"),
        RoleRejected::Account(account::RoleRejected::Disabled) => {
            ApiError::new(Code::AccountDisabled, rejection.to_string())
        }
        RoleRejected::Administrators(AdministratorsRejected::Last) => {
            ApiError::new(Code::LastAdministrator, rejection.to_string())
        }
        RoleRejected::Administrators(AdministratorsRejected::NotByAdministrator) => {
            ApiError::new(Code::Forbidden, rejection.to_string())
        }
    }
}

/// Change a user's role
///
/// It counts from the user's next request on. The last administrator can't become a user.
#[utoipa::path(
    put,
    path = "/api/v2/admin/users/{userId}/role",
    operation_id = "changeRole",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("userId" = Uuid, Path, description = "The user's id.")),
    request_body = RoleRequest,
    responses(
        (status = 200, description = "The user has the role.", body = Success<User>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the change in the log."),
        )),
        ChangeRoleErrors,
    ),
)]
pub async fn put(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(user_id): Path<String>,
    Body(RoleRequest { role }): Body<RoleRequest>,
) -> Result<Reply<User>, ApiError> {
    let not_found = || ApiError::not_found("user");
    let user_id: UserId = user_id.parse().map_err(|_| not_found())?;
    let origin = app.origin(Actor::Admin(admin));
    let sequence = change_role(&app.executor, user_id, role.into(), ChangedBy::Admin(admin), &origin)
        .await
        .map_err(|error| from_execute(error, |rejection| rejected(&rejection)))?;
    app.wait_until_projected::<Users>(sequence).await;
    let account = app.executor.state::<Account>(user_id).await?;
    let profile = account.state.profile.as_ref().ok_or_else(not_found)?;
    Ok(Reply::ok("the user has this role", User::new(user_id, profile)).position(app.position(sequence)))
}

#[cfg(test)]
mod tests {
    use dockhost_domain::envelope::Actor;
    use serde_json::json;

    use crate::http::testing::{Caller, TestApp};
    use dockhost_domain::ids::UserId;

    fn path(user: &Caller<UserId>) -> String {
        format!("/api/v2/admin/users/{}/role", user.id)
    }

    #[tokio::test]
    async fn change_role_counts_from_the_next_request_on() {
        let app = TestApp::new().await;
        let (root, ada, eve) = (app.admin("boss").await, app.user("ada").await, app.user("eve").await);
        let put = |caller: &Caller<UserId>, user: &Caller<UserId>, role: &str| {
            app.put(&path(user), json!({ "role": role })).token(&caller.token).send()
        };
        assert_eq!(put(&ada, &ada, "admin").await.error(), (403, "forbidden"));
        let answer = put(&root, &ada, "admin").await;
        assert_eq!((answer.status, &answer.data()["role"]), (200, &json!("admin")), "{answer:?}");
        // The batch of both events is the last one.
        let events = app.log.events();
        let [.., administrators, account] = &events[..] else { panic!("{events:?}") };
        assert_eq!(answer.header("dockhost-position"), Some(&*app.app.position(account.sequence)));
        for recorded in [administrators, account] {
            assert_eq!(recorded.envelope.origin.actor, Actor::Admin(root.id));
        }
        // With the token that she had before.
        assert_eq!(put(&ada, &eve, "admin").await.status, 200);
        assert_eq!(put(&eve, &ada, "user").await.status, 200);
        assert_eq!(put(&ada, &eve, "user").await.error(), (403, "forbidden"));
    }

    #[tokio::test]
    async fn change_role_repeated_stores_nothing() {
        let app = TestApp::new().await;
        let (root, ada) = (app.admin("boss").await, app.user("ada").await);
        let put = || app.put(&path(&ada), json!({ "role": "admin" })).token(&root.token).send();
        let first = put().await;
        let events = app.log.events().len();
        let second = put().await;
        assert_eq!((second.status, app.log.events().len()), (200, events));
        assert_eq!(second.header("dockhost-position"), first.header("dockhost-position"));
    }

    #[tokio::test]
    async fn change_role_of_the_last_administrator_is_refused() {
        let app = TestApp::new().await;
        let (root, ada) = (app.admin("boss").await, app.user("ada").await);
        let put =
            |user: &Caller<UserId>, role: &str| app.put(&path(user), json!({ "role": role })).token(&root.token).send();
        assert_eq!(put(&root, "user").await.error(), (409, "last_administrator"));
        assert_eq!(put(&ada, "admin").await.status, 200);
        assert_eq!(put(&root, "user").await.status, 200);
    }

    #[tokio::test]
    async fn change_role_of_an_unknown_user_or_to_an_unknown_role_is_refused() {
        let app = TestApp::new().await;
        let (root, backend) = (app.admin("boss").await, app.backend("lab-1", 5).await);
        let put = |id: &str, role: &str| {
            let path = format!("/api/v2/admin/users/{id}/role");
            app.put(&path, json!({ "role": role })).token(&root.token).send()
        };
        for id in ["boss", "0193b3a0-0000-7000-8000-000000000001", "%ff", &backend.id.to_string()] {
            assert_eq!(put(id, "admin").await.error(), (404, "not_found"), "{id}");
        }
        let answer = put(&root.id.to_string(), "root").await;
        assert_eq!(answer.error(), (422, "validation_failed"));
        assert_eq!(answer.details(), &json!([{ "field": "role", "problem": "must be one of: user, admin" }]));
    }
}
