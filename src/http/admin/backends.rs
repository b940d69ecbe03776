//! `GET /api/v2/admin/backends`: all backends, with what their agents last said and the number of their instances.

use std::sync::Arc;

use axum::extract::State;
use dockhost_projections::backends::{BackendDocument, Backends};
use dockhost_projections::instances::{Instances, SumBy};
use serde::Deserialize;

use super::backend_view::AdminBackend;
use super::list::{self, List, MAX_LIMIT};
use crate::http::app::App;
use crate::http::consistency::{self, LogPosition};
use crate::http::extract::{CurrentAdmin, Query, ReadPosition};
use crate::http::response::documented::{ADMIN, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};

/// Which backends.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct BackendsParameters {
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `nextCursor` of the page before.
    #[param(value_type = Option<Uuid>)]
    cursor: Option<String>,
}

impl BackendsParameters {
    /// The longest page after a cursor.
    pub const fn after(cursor: Option<String>) -> Self {
        Self { limit: Some(MAX_LIMIT), cursor }
    }
}

error_responses!(BackendsErrors: ADMIN, READ_MODEL, &[Code::ValidationFailed]);

/// List backends
///
/// The oldest first.
#[utoipa::path(
    get,
    path = "/api/v2/admin/backends",
    operation_id = "listBackends",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(BackendsParameters, ReadPosition),
    responses(
        (status = 200, description = "The backends.", body = Success<List<AdminBackend>>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("Dockhost-Stale" = u64, description = "If events are missing: the first sequence that is."),
        )),
        BackendsErrors,
    ),
)]
pub async fn get(
    CurrentAdmin { .. }: CurrentAdmin,
    State(app): State<Arc<App>>,
    position: ReadPosition,
    Query(BackendsParameters { limit, cursor }): Query<BackendsParameters>,
) -> Result<Reply<List<AdminBackend>>, ApiError> {
    let page = list::page(limit, cursor.as_deref())?;
    let backends = consistency::read::<Backends, _>(&app, position, || app.store.backends(page)).await?;
    let ids: Vec<String> = backends.value.iter().map(|backend| backend.backend_id.to_string()).collect();
    let sum = || app.store.instance_sums(SumBy::Backend, &ids);
    let sums = consistency::read::<Instances, _>(&app, position, sum).await?;
    let since = backends.stale_since.or(sums.stale_since);
    let position = backends.position(&app, backends.value.iter().map(|backend| backend.seq));
    let view = |document: BackendDocument| {
        let instances = sums.value.get(&document.backend_id.to_string()).map_or(0, |sums| sums.instances);
        AdminBackend::new(&app, document, None, instances)
    };
    let list = List::new(&page, backends.value, since, |backend| backend.backend_id, view);
    Ok(Reply::ok("the backends", list).stale(since).position(position))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn list_backends_has_all_with_heartbeats_and_numbers_of_instances() {
        let app = TestApp::new().await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        let (first, second) = (app.connected_backend("lab-1", 9).await, app.backend("lab-2", 5).await);
        app.running_instance(&ada, "web").await;
        let get = |query: &str| app.get(&format!("/api/v2/admin/backends{query}")).token(&boss.token).send();
        let answer = get("").await;
        let items = answer.data()["items"].as_array().unwrap();
        let shown: Vec<_> = items.iter().map(|b| (&b["id"], &b["username"], &b["status"], &b["instances"])).collect();
        let (first_id, second_id) = (json!(first.id.to_string()), json!(second.id.to_string()));
        assert_eq!(
            shown,
            [
                (&first_id, &json!("lab-1"), &json!("connected"), &json!(1)),
                (&second_id, &json!("lab-2"), &json!("enrolled"), &json!(0)),
            ]
        );
        assert_eq!((&items[0]["load"], &items[0]["address"]), (&json!(0.5), &json!("192.0.2.1")));
        let page = get("?limit=1").await;
        assert_eq!(page.data()["nextCursor"], first_id);
        let rest = get(&format!("?limit=1&cursor={}", first.id)).await;
        assert_eq!((&rest.data()["items"][0]["id"], &rest.data()["nextCursor"]), (&second_id, &json!(null)));
    }
}
