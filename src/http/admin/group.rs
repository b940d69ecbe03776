//! `GET /api/v2/admin/groups/{groupId}`: one group. It comes from the log, not from a read model.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::group::Groups;
use dockhost_domain::ids::GroupId;
use dockhost_domain::subject::AllGroups;

use super::group_view::Group;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentAdmin, IfNoneMatch, Path};
use crate::http::response::documented::{ADMIN, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::version::Version;

error_responses!(GroupErrors: ADMIN, &[Code::NotFound]);

/// Get a group
#[utoipa::path(
    get,
    path = "/api/v2/admin/groups/{groupId}",
    operation_id = "getGroup",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("groupId" = Uuid, Path, description = "The group's id."), IfNoneMatch),
    responses(
        (status = 200, description = "The group.", body = Success<Group>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("ETag" = String, description = "For `If-Match` and `If-None-Match`."),
        )),
        (status = 304, description = "You have this answer."),
        GroupErrors,
    ),
)]
pub async fn get(
    CurrentAdmin { .. }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(group): Path<String>,
    known: IfNoneMatch,
) -> Result<Reply<Group>, ApiError> {
    let not_found = || ApiError::not_found("group");
    let group_id: GroupId = group.parse().map_err(|_| not_found())?;
    let groups = app.executor.confirmed::<Groups>(AllGroups).await?;
    let group = groups.state.get(group_id).ok_or_else(not_found)?;
    let reply = Reply::ok("the group", Group::new(group_id, group)).version(Version::of(group), known);
    Ok(reply.position(app.position(groups.sequence)))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use serde_json::json;

    use crate::http::testing::TestApp;

    /// Two administrators have the same page open.
    #[tokio::test]
    async fn group_changed_by_another_meanwhile_is_neither_changed_nor_deleted() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        let path = format!("/api/v2/admin/groups/{}", app.group("chemistry-8a").await);
        let call = |method: Method, body: serde_json::Value| app.request(method, &path).json(body).token(&boss.token);
        let shown = app.get(&path).token(&boss.token).send().await;
        let etag = shown.header("etag").unwrap().to_owned();
        assert_eq!(shown.data()["name"], "chemistry-8a");
        let again = app.get(&path).token(&boss.token).header("if-none-match", &etag).send().await;
        assert_eq!((again.status, again.header("etag")), (304, Some(&*etag)), "{again:?}");
        // Another group is no reason to refuse.
        app.group("biology-7b").await;
        let first = call(Method::PATCH, json!({ "maxInstances": 3 })).header("if-match", &etag).send().await;
        assert_eq!(first.status, 200, "{first:?}");
        let events = app.log.events().len();
        let second = call(Method::PATCH, json!({ "maxInstances": 4 })).header("if-match", &etag).send().await;
        assert_eq!(second.error(), (412, "precondition_failed"));
        let deleted = call(Method::DELETE, json!({})).header("if-match", &etag).send().await;
        assert_eq!((deleted.error(), app.log.events().len()), ((412, "precondition_failed"), events));
        let now = first.header("etag").unwrap();
        assert_eq!(call(Method::DELETE, json!({})).header("if-match", now).send().await.status, 200);
        let gone = app.get(&path).token(&boss.token).send().await;
        assert_eq!(gone.error(), (404, "not_found"));
        assert_eq!(
            call(Method::PATCH, json!({})).header("if-match", "no tag").send().await.error(),
            (400, "invalid_header")
        );
    }
}
