//! `DELETE /api/v2/admin/groups/{groupId}`: deletes a group in which nobody is.
//!
//! Its members are found in the read model. Whoever is put into it at the same moment is in no group afterwards.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::group::{DeleteGroup, Groups};
use dockhost_domain::ids::GroupId;
use dockhost_domain::invitation::Invitations;
use dockhost_domain::subject::{AllGroups, AllInvitations};
use dockhost_projections::users::Users;

use super::create_group::rejected;
use super::group_view::{Group, on_version};
use crate::common::clock;
use crate::event_log::Filter;
use crate::http::app::App;
use crate::http::consistency::{self, LogPosition};
use crate::http::extract::{CurrentAdmin, IfMatch, Path};
use crate::http::response::documented::{ADMIN_OF_COMMAND, COMMAND, ON_VERSION, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};

error_responses!(
    DeleteGroupErrors: ADMIN_OF_COMMAND, COMMAND, ON_VERSION,
    &[Code::NotFound, Code::GroupNotEmpty, Code::DatabaseUnavailable]
);

/// How long it waits for the read model of users.
const PROJECTION_WAIT: Duration = Duration::from_secs(5);

/// Delete a group
///
/// Only if nobody is in it, or can sign up with an invitation to it.
#[utoipa::path(
    delete,
    path = "/api/v2/admin/groups/{groupId}",
    operation_id = "deleteGroup",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("groupId" = Uuid, Path, description = "The group's id."), IfMatch),
    responses(
        (status = 200, description = "The group as it was.", body = Success<Group>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the deletion in the log."),
        )),
        DeleteGroupErrors,
    ),
)]
pub async fn delete(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(group): Path<String>,
    if_match: IfMatch,
) -> Result<Reply<Group>, ApiError> {
    let not_found = || ApiError::not_found("group");
    let group_id: GroupId = group.parse().map_err(|_| not_found())?;
    let groups = app.executor.confirmed::<Groups>(AllGroups).await?;
    let group = Group::new(group_id, groups.state.get(group_id).ok_or_else(not_found)?);
    let command = DeleteGroup { group_id, in_use_by: in_use_by(&app, group_id).await? };
    let done = app
        .executor
        .execute(AllGroups, app.origin(Actor::Admin(admin)), on_version(group_id, if_match, command))
        .await
        .map_err(|error| from_execute(error, |refused| refused.answer(rejected)))?;
    Ok(Reply::ok("the group is deleted", group).position(app.position(done.current.sequence)))
}

/// How many are in the group or are invited to it, by everything that is in the log now.
async fn in_use_by(app: &App, group_id: GroupId) -> Result<usize, ApiError> {
    let (invitations, now) = (app.executor.confirmed::<Invitations>(AllInvitations).await?, clock::now());
    let is_invited = |id: Option<GroupId>| id == Some(group_id);
    let invited = invitations.state.iter().filter(|(_, one)| one.is_valid(now) && is_invited(one.details.group_id));
    let end = app.executor.log().end(Filter::Kind("account")).await?;
    if !consistency::wait_until_projected::<Users>(&app.follower, &app.progress, end, PROJECTION_WAIT).await {
        return Err(ApiError::busy());
    }
    let members = app.store.members_of(&[group_id]).await.map_err(|error| ApiError::database(&error))?;
    Ok(members.value.len() + invited.count())
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use serde_json::{Value, json};

    use crate::http::testing::{PASSWORD, TestApp};

    const PATH: &str = "/api/v2/admin/groups";

    #[tokio::test]
    async fn group_is_deleted_once_nobody_is_in_it_or_invited_to_it() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        let group = app.post(PATH, json!({ "name": "Biology 7b" })).token(&boss.token).send().await;
        let group = group.data()["id"].as_str().unwrap().to_owned();
        let delete = || app.request(Method::DELETE, &format!("{PATH}/{group}")).token(&boss.token).send();
        let invitation = app
            .post("/api/v2/admin/invitations", json!({ "groupId": group, "maxInstances": 3 }))
            .token(&boss.token)
            .send()
            .await;
        assert_eq!(invitation.data()["invitation"]["groupId"], group, "{invitation:?}");
        assert_eq!(delete().await.error(), (409, "group_not_empty"));
        let body = json!({
            "username": "ada", "email": "ada@example.org", "password": PASSWORD, "invitation": invitation.data()["token"],
        });
        let ada = app.post("/api/v2/user/signup", body).send().await;
        assert_eq!(ada.status, 201, "{ada:?}");
        let me = app.get("/api/v2/user/me").token(ada.data()["accessToken"].as_str().unwrap()).send().await;
        let expected =
            json!({ "name": "Biology 7b", "endsAt": null, "timeToLiveMinutes": null, "autostopMinutes": null });
        assert_eq!((&me.data()["group"], &me.data()["maxInstances"]), (&expected, &json!(3)), "{me:?}");
        assert_eq!(delete().await.error(), (409, "group_not_empty"));
        let path = format!("/api/v2/admin/users/{}/group", ada.data()["user"]["id"].as_str().unwrap());
        let out = app.put(&path, json!({})).token(&boss.token).send().await;
        assert_eq!((out.status, &out.data()["group"]), (200, &Value::Null), "{out:?}");
        assert_eq!(delete().await.status, 200);
        assert_eq!(delete().await.error(), (404, "not_found"));
        assert_eq!(app.get(PATH).token(&boss.token).send().await.data()["items"], json!([]));
    }
}
