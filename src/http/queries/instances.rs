//! `GET /api/v2/user/instance`: the caller's instances.

use std::sync::Arc;

use axum::extract::State;
use dockhost_projections::instances::Instances;

use crate::http::app::App;
use crate::http::consistency::{self, LogPosition};
use crate::http::extract::{CurrentUser, ReadPosition};
use crate::http::group_of::limits_of;
use crate::http::response::documented::{CALLER, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Reply, Success};
use crate::http::views::Instance;

error_responses!(InstancesErrors: CALLER, READ_MODEL);

/// List your instances
///
/// The oldest first, without deleted ones.
#[utoipa::path(
    get,
    path = "/api/v2/user/instance",
    operation_id = "listInstances",
    tag = "Instances",
    security(("userToken" = []), ("userCookie" = [])),
    params(ReadPosition),
    responses(
        (status = 200, description = "The instances.", body = Success<Vec<Instance>>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("Dockhost-Stale" = u64, description = "If events are missing: the first sequence that is."),
        )),
        InstancesErrors,
    ),
)]
pub async fn get(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    position: ReadPosition,
) -> Result<Reply<Vec<Instance>>, ApiError> {
    let shown = consistency::read::<Instances, _>(&app, position, || app.store.instances_of(user_id)).await?;
    let since = shown.stale_since;
    let group = limits_of(&app, user_id).await?;
    let views = shown
        .value
        .iter()
        .map(|document| Instance::new(&app, user_id, document.instance_id, &document.state, group).stale(since));
    let position = shown.position(&app, shown.value.iter().map(|document| document.seq));
    Ok(Reply::ok("your instances", views.collect::<Vec<_>>()).stale(since).position(position))
}

#[cfg(test)]
mod tests {
    use dockhost_domain::wire::ReportKind;
    use serde_json::json;

    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn list_instances_has_the_callers_own_without_deleted_ones() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let (ada, eve) = (app.user("ada").await, app.user("eve").await);
        for name in ["one", "two"] {
            app.running_instance(&ada, name).await;
        }
        app.running_instance(&eve, "three").await;
        let gone = app.running_instance(&ada, "gone").await;
        let delete = app.request(axum::http::Method::DELETE, "/api/v2/user/instance?instanceId=gone");
        delete.token(&ada.token).header("prefer", "respond-async").send().await;
        app.report(ada.id, gone, ReportKind::InstanceDeleted).await;
        let answer = app.get("/api/v2/user/instance").token(&ada.token).send().await;
        let names: Vec<_> = answer.data().as_array().unwrap().iter().map(|instance| &instance["name"]).collect();
        assert_eq!(names, [&json!("one"), &json!("two")]);
    }

    #[tokio::test]
    async fn list_instances_says_what_it_lacks() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let user = app.user("ada").await;
        app.store.set_stale_since(7);
        let list = || app.get("/api/v2/user/instance").token(&user.token).send();
        let empty = list().await;
        assert_eq!((empty.header("dockhost-stale"), empty.data()), (Some("7"), &json!([])));
        app.running_instance(&user, "web").await;
        assert_eq!(list().await.data()[0]["stale"], json!({ "since": 7 }));
    }
}
