//! `GET /api/v2/admin/backends`: all backends, with what their agents last said and the number of their instances.
//!
//! The filters are about backends as this replica knows them: their status depends on heartbeats, which are in no read model.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::backend::Machine;
use dockhost_domain::ids::BackendId;
use dockhost_domain::labels::Label;
use dockhost_domain::personal::Personal;
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
use crate::http::views::BackendStatus;

/// Which backends.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct BackendsParameters {
    /// A part of the username or the name of the lab, whatever the case of its letters.
    #[param(max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    search: Option<String>,
    status: Option<BackendStatus>,
    /// A label that they have, as `name=value`.
    #[param(pattern = r"^[a-z][a-z0-9._-]{0,62}=[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    label: Option<String>,
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `nextCursor` of the page before.
    #[param(value_type = Option<Uuid>)]
    cursor: Option<String>,
}

impl BackendsParameters {
    /// The longest page after a cursor.
    pub fn after(cursor: Option<String>) -> Self {
        Self { limit: Some(MAX_LIMIT), cursor, ..Self::default() }
    }
}

/// What is asked of a backend.
struct Filter {
    search: Option<String>,
    status: Option<BackendStatus>,
    label: Option<Label>,
}

impl Filter {
    /// The backends that it selects; `None` for all.
    fn selected(&self, app: &App) -> Option<Vec<BackendId>> {
        let is_empty = self.search.is_none() && self.status.is_none() && self.label.is_none();
        let selected = |(id, machine, _): (BackendId, Machine, usize)| self.selects(app, id, &machine).then_some(id);
        (!is_empty).then(|| app.follower.fleet().machines().into_iter().filter_map(selected).collect())
    }

    fn selects(&self, app: &App, id: BackendId, machine: &Machine) -> bool {
        let details = &machine.details;
        let name = details.username.plain().map(ToString::to_string).unwrap_or_default();
        let lab = details.lab_name.as_ref().and_then(Personal::plain).cloned().unwrap_or_default();
        let search = self.search.as_deref();
        let status = || BackendStatus::now(machine.admission, machine.connection, app.heartbeats.problem(id));
        (list::contains(&name, search) || list::contains(&lab, search))
            && self.label.as_ref().is_none_or(|label| machine.labels.iter().any(|own| own == *label))
            && self.status.is_none_or(|asked| asked == status())
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
    Query(parameters): Query<BackendsParameters>,
) -> Result<Reply<List<AdminBackend>>, ApiError> {
    let BackendsParameters { search, status, label, limit, cursor } = parameters;
    let page = list::page(limit, cursor.as_deref())?;
    let label = label.map(|text| text.parse::<Label>()).transpose();
    let label = label.map_err(|error| list::invalid("label", error.to_string()))?;
    let filter = Filter { search: list::search(search)?, status, label };
    consistency::wait_until_applied(&app, position.0.unwrap_or(0)).await?;
    let selected = filter.selected(&app);
    let find = || app.store.backends(selected.as_deref(), page);
    let backends = consistency::read::<Backends, _>(&app, position, find).await?;
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

    #[tokio::test]
    async fn list_backends_is_filtered_by_name_status_and_label() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        let first = app.connected_backend("lab-1", 9).await;
        app.backend("lab-2", 5).await;
        app.pending_backend("workshop").await;
        let labels = json!({ "labels": { "gpu": "yes", "room": "b12" } });
        let path = format!("/api/v2/admin/backends/{}/labels", first.id);
        let labelled = app.put(&path, labels).token(&boss.token).send().await;
        let position = labelled.header("dockhost-position").unwrap_or_else(|| panic!("{labelled:?}"));
        let get = |query: &str| {
            let request = app.get(&format!("/api/v2/admin/backends?{query}")).token(&boss.token);
            request.header("dockhost-position", position).send()
        };
        for (query, expected) in [
            ("search=LAB", &["lab-1", "lab-2"][..]),
            ("status=connected", &["lab-1"]),
            ("status=enrolled", &["lab-2"]),
            ("status=pending", &["workshop"]),
            ("status=lost", &[]),
            ("label=gpu%3Dyes", &["lab-1"]),
            ("label=gpu%3Dno", &[]),
            ("search=lab&status=connected&label=room%3Db12", &["lab-1"]),
            ("search=work&status=connected", &[]),
        ] {
            let answer = get(query).await;
            let items = answer.data()["items"].as_array().unwrap_or_else(|| panic!("{query}: {answer:?}")).clone();
            let names: Vec<_> = items.iter().map(|backend| backend["username"].as_str().unwrap()).collect();
            assert_eq!(names, expected, "{query}");
        }
        let page = get("search=lab&limit=1").await;
        let cursor = page.data()["nextCursor"].as_str().unwrap();
        assert_eq!(get(&format!("search=lab&cursor={cursor}")).await.data()["items"][0]["username"], "lab-2");
        for query in ["status=gone", "label=gpu", "label=GPU%3Dyes", "search=%07"] {
            assert_eq!(get(query).await.error(), (422, "validation_failed"), "{query}");
        }
    }
}
