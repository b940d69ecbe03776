//! `PUT /api/v2/admin/users/{userId}/group`: puts a user into a group, or takes them out.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::{ChangeUserGroup, GroupChanged, NoSuchAccount};
use dockhost_domain::envelope::Actor;
use dockhost_domain::group::Groups;
use dockhost_domain::ids::{GroupId, UserId};
use dockhost_domain::subject::AllGroups;
use dockhost_projections::users::Users;
use serde::Deserialize;
use utoipa::ToSchema;

use super::user_view::AdminUser;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentAdmin, Path};
use crate::http::response::documented::{ADMIN_OF_COMMAND, BODY, COMMAND, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};

/// A group for a user.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "groupId": null })))]
pub struct UserGroupRequest {
    /// The group's id; absent or null to take the user out.
    #[garde(skip)]
    #[schema(value_type = Option<Uuid>)]
    group_id: Option<GroupId>,
}

error_responses!(SetUserGroupErrors: ADMIN_OF_COMMAND, BODY, COMMAND, &[Code::NotFound]);

/// Put a user into a group
///
/// Or take them out. They are in one group at most: the group's quota and end count for their instances.
#[utoipa::path(
    put,
    path = "/api/v2/admin/users/{userId}/group",
    operation_id = "setUserGroup",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("userId" = Uuid, Path, description = "The user's id.")),
    request_body = Option<UserGroupRequest>,
    responses(
        (status = 200, description = "The user, in the group.", body = Success<AdminUser>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the change in the log."),
        )),
        SetUserGroupErrors,
    ),
)]
pub async fn put(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(user_id): Path<String>,
    Body(UserGroupRequest { group_id }): Body<UserGroupRequest>,
) -> Result<Reply<AdminUser>, ApiError> {
    let not_found = || ApiError::not_found("user");
    let user_id: UserId = user_id.parse().map_err(|_| not_found())?;
    let exists = async || -> Result<bool, ApiError> {
        let Some(group_id) = group_id else { return Ok(true) };
        Ok(app.executor.confirmed::<Groups>(AllGroups).await?.state.get(group_id).is_some())
    };
    let change = async |group_id| {
        let change = ChangeUserGroup(GroupChanged { group_id });
        let done = app.executor.execute(user_id, app.origin(Actor::Admin(admin)), change).await;
        done.map_err(|error| from_execute(error, |NoSuchAccount| not_found()))
    };
    if !exists().await? {
        return Err(ApiError::not_found("group"));
    }
    let done = change(group_id).await?;
    // It was deleted meanwhile.
    if !exists().await? {
        change(None).await?;
        return Err(ApiError::not_found("group"));
    }
    app.wait_until_projected::<Users>(done.current.sequence).await;
    let user = AdminUser::current(&app, user_id).await?;
    Ok(Reply::ok("the group of the user is changed", user).position(app.position(done.current.sequence)))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use dockhost_domain::wire::{Phase, ReportKind};
    use serde_json::{Value, json};

    use crate::http::testing::{TestApp, TestRequest, observation};

    const GROUPS: &str = "/api/v2/admin/groups";

    #[tokio::test]
    async fn group_of_a_user_counts_for_their_quota_and_finds_them() {
        let app = TestApp::with(|settings| settings.quota = Some(5)).await;
        app.connected_backend("lab-1", 9).await;
        let (boss, ada, eve) = (app.admin("boss").await, app.user("ada").await, app.user("eve").await);
        app.running_instance(&ada, "web").await;
        app.running_instance(&eve, "db").await;
        let group =
            app.post(GROUPS, json!({ "name": "biology-7b", "maxInstances": 1 })).token(&boss.token).send().await;
        let group = group.data()["id"].as_str().unwrap().to_owned();
        let put = |member: &str, body: Value| {
            app.put(&format!("/api/v2/admin/users/{}/{member}", ada.id), body).token(&boss.token).send()
        };
        let limit = async || {
            let me = app.get("/api/v2/user/me").token(&ada.token).send().await;
            me.data()["maxInstances"].clone()
        };
        let create = async || {
            let request = app.post("/api/v2/user/instance", json!({})).token(&ada.token);
            request.header("prefer", "respond-async").send().await
        };
        let user = put("group", json!({ "groupId": group })).await;
        assert_eq!(
            (user.status, &user.data()["group"]),
            (200, &json!({ "id": group, "name": "biology-7b" })),
            "{user:?}"
        );
        assert_eq!((limit().await, create().await.error()), (json!(1), (403, "quota_exceeded")));
        // A number for the user alone counts instead.
        put("quota", json!({ "instances": 3 })).await;
        assert_eq!(limit().await, 3);
        let quota = put("quota", json!({})).await;
        assert_eq!((&quota.data()["instances"], &quota.data()["isDefault"]), (&json!(1), &json!(true)), "{quota:?}");
        for path in ["users", "instances"] {
            let found = app.get(&format!("/api/v2/admin/{path}?group={group}")).token(&boss.token).send().await;
            let items = found.data()["items"].as_array().unwrap();
            assert_eq!(items.len(), 1, "{path}: {found:?}");
        }
        let user = put("group", json!({})).await;
        assert_eq!((&user.data()["group"], limit().await), (&Value::Null, json!(5)));
        let found = app.get(&format!("/api/v2/admin/instances?group={group}")).token(&boss.token).send().await;
        assert_eq!(found.data()["items"], json!([]));
    }

    #[tokio::test]
    async fn group_that_has_ended_lets_its_members_create_and_resume_nothing() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        let id = app.running_instance(&ada, "web").await;
        let early = app.post("/api/v2/user/instance", json!({ "name": "early" })).header("idempotency-key", "1");
        let early = early.token(&ada.token).header("prefer", "respond-async").send().await;
        assert_eq!(early.status, 202, "{early:?}");
        let group = json!({ "name": "biology-7b", "endsAt": "2020-07-15T18:00:00Z" });
        let group = app.post(GROUPS, group).token(&boss.token).send().await.data()["id"].clone();
        app.put(&format!("/api/v2/admin/users/{}/group", ada.id), json!({ "groupId": group }))
            .token(&boss.token)
            .send()
            .await;
        let send =
            async |request: TestRequest<'_>| request.token(&ada.token).header("prefer", "respond-async").send().await;
        let stop = send(app.put("/api/v2/user/instance/stop", json!({ "instanceId": "web" }))).await;
        assert_eq!(stop.status, 202, "{stop:?}");
        app.report(ada.id, id, ReportKind::InstanceStatus(observation(Phase::Stopped))).await;
        assert_eq!(send(app.put("/api/v2/user/instance/resume", json!({ "instanceId": "db" }))).await.status, 404);
        let resume = || app.put("/api/v2/user/instance/resume", json!({ "instanceId": "web" }));
        assert_eq!(send(resume()).await.error(), (403, "group_ended"));
        let create = send(app.post("/api/v2/user/instance", json!({}))).await;
        assert_eq!(create.error(), (403, "group_ended"));
        // What repeats a create from before the end is answered like it.
        let repeated =
            send(app.post("/api/v2/user/instance", json!({ "name": "early" })).header("idempotency-key", "1"));
        assert_eq!(repeated.await.status, 202);
        let path = format!("{GROUPS}/{}", group.as_str().unwrap());
        app.request(Method::PATCH, &path).json(json!({ "endsAt": null })).token(&boss.token).send().await;
        assert_eq!(send(resume()).await.status, 202);
    }

    #[tokio::test]
    async fn group_unknown_is_not_found() {
        let app = TestApp::new().await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        let unknown = json!({ "groupId": "0193b3a0-0000-7000-8000-000000000001" });
        for (user, body) in [(ada.id.to_string(), unknown), (boss.id.to_string().replace('0', "1"), json!({}))] {
            let answer = app.put(&format!("/api/v2/admin/users/{user}/group"), body).token(&boss.token).send().await;
            assert_eq!(answer.error(), (404, "not_found"), "{user}");
        }
    }
}
