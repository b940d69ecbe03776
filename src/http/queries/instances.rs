//! `GET /api/v2/user/instance`: the caller's instances.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::ids::InstanceId;
use dockhost_projections::instances::Instances;

use crate::http::admin::list::{self, ArrayPage};
use crate::http::app::App;
use crate::http::consistency::{self, LogPosition};
use crate::http::extract::{CurrentUser, Query, ReadPosition};
use crate::http::group_of::limits_of;
use crate::http::response::documented::{CALLER, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::Instance;

error_responses!(InstancesErrors: CALLER, READ_MODEL, &[Code::ValidationFailed]);

/// List your instances
///
/// The oldest first, without deleted ones.
#[utoipa::path(
    get,
    path = "/api/v2/user/instance",
    operation_id = "listInstances",
    tag = "Instances",
    security(("userToken" = []), ("userCookie" = [])),
    params(ArrayPage, ReadPosition),
    responses(
        (status = 200, description = "The instances.", body = Success<Vec<Instance>>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("Link" = String, description = "If there are more items: the next page, as `<?limit=…&cursor=…>; rel=\"next\"`."),
            ("Dockhost-Stale" = u64, description = "If events are missing: the first sequence that is."),
        )),
        InstancesErrors,
    ),
)]
pub async fn get(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    position: ReadPosition,
    Query(page): Query<ArrayPage>,
) -> Result<Reply<Vec<Instance>>, ApiError> {
    let page = page.page::<InstanceId>()?;
    let read = || match page {
        Some(page) => app.store.page_of_instances(user_id, page),
        None => app.store.instances_of(user_id),
    };
    let shown = consistency::read::<Instances, _>(&app, position, read).await?;
    let (since, position) = (shown.stale_since, shown.position(&app, shown.value.iter().map(|document| document.seq)));
    let group = limits_of(&app, user_id).await?;
    let (documents, next) = match &page {
        Some(page) => list::cut(page, shown.value, |document| document.instance_id),
        None => (shown.value, None),
    };
    let views = documents
        .iter()
        .map(|document| Instance::new(&app, user_id, document.instance_id, &document.state, group).stale(since));
    let reply = Reply::ok("your instances", views.collect::<Vec<_>>());
    Ok(reply.next_page(page.as_ref(), next).stale(since).position(position))
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
    async fn list_instances_in_pages_has_each_once_and_all_at_once_without() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let (ada, eve) = (app.user("ada").await, app.user("eve").await);
        for name in ["one", "two", "three", "four", "five"] {
            app.running_instance(&ada, name).await;
        }
        app.running_instance(&eve, "other").await;
        let get = async |query: &str| app.get(&format!("/api/v2/user/instance{query}")).token(&ada.token).send().await;
        let all = get("").await;
        assert_eq!((all.header("link"), all.data().as_array().unwrap().len()), (None, 5));
        let pages = crate::http::testing::pages(&get, "?limit=2").await;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!(&serde_json::Value::from(pages.concat()), all.data());
        for query in ["?limit=0", "?limit=201", "?limit=x", "?cursor=x"] {
            assert_eq!(get(query).await.error(), (422, "validation_failed"), "{query}");
        }
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
