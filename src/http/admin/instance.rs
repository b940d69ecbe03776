//! `GET /api/v2/admin/instances/{id}`: an instance of anyone, with its owner.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::ids::InstanceId;
use dockhost_projections::instances::{InstanceFilter, Instances};
use dockhost_projections::store::Page;
use dockhost_projections::users::Users;

use super::instances::OwnedInstance;
use crate::http::app::App;
use crate::http::consistency::{self, LogPosition};
use crate::http::extract::{CurrentAdmin, IfNoneMatch, Path, ReadPosition};
use crate::http::group_of::limits_of;
use crate::http::queries::instance::missing;
use crate::http::response::documented::{ADMIN, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::version::Version;

error_responses!(AnyInstanceErrors: ADMIN, READ_MODEL, &[Code::NotFound]);

/// Get anyone's instance
///
/// One that is not deleted, as its owner sees it.
#[utoipa::path(
    get,
    path = "/api/v2/admin/instances/{id}",
    operation_id = "getAnyInstance",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("id" = Uuid, Path, description = "The instance's id."), IfNoneMatch, ReadPosition),
    responses(
        (status = 200, description = "The instance.", body = Success<OwnedInstance>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("ETag" = String, description = "For `If-Match` and `If-None-Match`."),
            ("Dockhost-Stale" = u64, description = "If events are missing: the first sequence that is."),
        )),
        (status = 304, description = "You have this answer."),
        AnyInstanceErrors,
    ),
)]
pub async fn get(
    CurrentAdmin { .. }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    position: ReadPosition,
    known: IfNoneMatch,
) -> Result<Reply<OwnedInstance>, ApiError> {
    let id: InstanceId = id.parse().map_err(|_| ApiError::not_found("instance"))?;
    let filter = InstanceFilter { id: Some(id), ..InstanceFilter::default() };
    let page = Page { after: None, limit: 1 };
    let found = consistency::read::<Instances, _>(&app, position, || app.store.instances_of_all(&filter, page)).await?;
    let document = found.value.first().ok_or_else(|| missing(found.stale_since))?;
    let owner = document.user_id;
    let names = consistency::read::<Users, _>(&app, position, || app.store.usernames(vec![owner])).await?;
    let username = names.value.get(&owner).map(ToString::to_string);
    let since = found.stale_since.or(names.stale_since);
    let view = OwnedInstance::new(&app, document, username, limits_of(&app, owner).await?).stale(since);
    let reply = Reply::ok("the instance", view).version(Version::of(&document.state), known);
    Ok(reply.stale(since).position(found.position(&app, [document.seq])))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use serde_json::json;

    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn instance_of_another_is_shown_with_its_owner() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        let id = app.running_instance(&ada, "web").await.to_string();
        let get = |id: &str| app.get(&format!("/api/v2/admin/instances/{id}")).token(&boss.token);
        let shown = get(&id).send().await;
        assert_eq!((&shown.data()["name"], &shown.data()["owner"]["username"]), (&json!("web"), &json!("ada")));
        let of_owner = app.get("/api/v2/user/instance/web").token(&ada.token).send().await;
        let version = |etag: Option<&str>| etag.and_then(|etag| etag.split('.').next()).map(str::to_owned);
        assert_eq!(version(shown.header("etag")), version(of_owner.header("etag")), "one version for both");
        let again = get(&id).header("if-none-match", shown.header("etag").unwrap()).send().await;
        assert_eq!(again.status, 304);
        for unknown in ["web", "0193b3a0-0000-7000-8000-000000000001"] {
            assert_eq!(get(unknown).send().await.error(), (404, "not_found"), "{unknown}");
        }
    }

    /// Its owner changes it while an administrator looks at it.
    #[tokio::test]
    async fn instance_changed_since_the_administrator_saw_it_is_left_alone() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        let id = app.running_instance(&ada, "web").await;
        let path = format!("/api/v2/admin/instances/{id}");
        let etag = async || {
            let shown = app.get(&path).token(&boss.token).send().await;
            shown.header("etag").unwrap().to_owned()
        };
        let command = |method: Method, action: &str, etag: &str| {
            let request = app.request(method, &format!("{path}{action}")).json(json!({})).token(&boss.token);
            request.header("if-match", etag).header("prefer", "respond-async").send()
        };
        let seen = etag().await;
        let renamed = app.request(Method::PATCH, "/api/v2/user/instance/web").json(json!({ "name": "shop" }));
        assert_eq!(renamed.token(&ada.token).send().await.status, 200);
        let events = app.log.events().len();
        let commands = [(Method::PATCH, ""), (Method::POST, "/stop"), (Method::POST, "/resume"), (Method::DELETE, "")];
        for (method, action) in commands {
            let refused = command(method, action, &seen).await;
            assert_eq!(refused.error(), (412, "precondition_failed"), "{action}: {refused:?}");
        }
        assert_eq!(app.log.events().len(), events);
        assert_eq!(command(Method::POST, "/stop", &etag().await).await.status, 202);
        assert_eq!(command(Method::DELETE, "", &seen).await.error(), (412, "precondition_failed"));
        assert_eq!(command(Method::DELETE, "", &etag().await).await.status, 202);
    }
}
