//! `PUT /api/v2/admin/backends/{backendId}/labels`: sets what a backend offers to instances that require it.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::backend::SetLabels;
use dockhost_domain::envelope::Actor;
use dockhost_domain::labels::Labels;
use serde::Deserialize;
use utoipa::ToSchema;

use super::change_backend::change_on;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentAdmin, IfMatch, Path};
use crate::http::response::documented::{ADMIN_OF_COMMAND, BODY, COMMAND, ON_VERSION, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::{Backend, LabelMap};

/// The labels of a backend.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "labels": { "gpu": "yes", "room": "b12" } })))]
pub struct BackendLabelsRequest {
    /// All its labels; those that it has and that are not among them are removed.
    #[garde(skip)]
    #[schema(value_type = LabelMap)]
    labels: Labels,
}

error_responses!(LabelsErrors: ADMIN_OF_COMMAND, BODY, COMMAND, ON_VERSION, &[Code::NotFound]);

/// Set a backend's labels
///
/// They count for new instances at once; instances that are on it stay, whatever they require. Labels are stored
/// unsealed, so they must say nothing about a person.
#[utoipa::path(
    put,
    path = "/api/v2/admin/backends/{backendId}/labels",
    operation_id = "setBackendLabels",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("backendId" = Uuid, Path, description = "The backend's id."), IfMatch),
    request_body = BackendLabelsRequest,
    responses(
        (status = 200, description = "The backend has the labels.", body = Success<Backend>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("ETag" = String, description = "For `If-Match` and `If-None-Match`."),
        )),
        LabelsErrors,
    ),
)]
pub async fn put(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(backend): Path<String>,
    if_match: IfMatch,
    Body(BackendLabelsRequest { labels }): Body<BackendLabelsRequest>,
) -> Result<Reply<Backend>, ApiError> {
    change_on(
        &app,
        app.origin(Actor::Admin(admin)),
        &backend,
        if_match,
        SetLabels { labels },
        "the backend has these labels",
    )
    .await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn backend_changed_since_the_caller_saw_it_is_left_alone() {
        let app = TestApp::new().await;
        let (boss, backend) = (app.admin("boss").await, app.connected_backend("lab-1", 5).await);
        let path = format!("/api/v2/admin/backends/{}", backend.id);
        let get = async || app.get(&path).token(&boss.token).send().await.header("etag").unwrap().to_owned();
        let put = |resource: &str, body, etag: &str| {
            app.put(&format!("{path}/{resource}"), body).token(&boss.token).header("if-match", etag).send()
        };
        let etag = get().await;
        let labelled = put("labels", json!({ "labels": { "gpu": "yes" } }), &etag).await;
        assert_eq!(labelled.status, 200, "{labelled:?}");
        let events = app.log.events().len();
        for (resource, body) in [("labels", json!({ "labels": {} })), ("capacity", json!({ "maxContainers": 3 }))] {
            assert_eq!(put(resource, body, &etag).await.error(), (412, "precondition_failed"), "{resource}");
        }
        assert_eq!(app.log.events().len(), events);
        assert_eq!(put("capacity", json!({ "maxContainers": 3 }), &get().await).await.status, 200);
    }

    #[tokio::test]
    async fn set_backend_labels_replaces_all_and_refuses_invalid_ones() {
        let app = TestApp::new().await;
        let (boss, backend) = (app.admin("boss").await, app.connected_backend("lab-1", 5).await);
        let path = format!("/api/v2/admin/backends/{}/labels", backend.id);
        let put = |labels| app.put(&path, json!({ "labels": labels })).token(&boss.token).send();
        for wrong in
            [json!({ "GPU": "yes" }), json!({ "gpu": "" }), json!({ "gpu": 1 }), json!(["gpu=yes"]), json!(null)]
        {
            assert_eq!(put(wrong.clone()).await.error(), (422, "validation_failed"), "{wrong}");
        }
        for labels in [json!({ "gpu": "yes", "room": "b12" }), json!({ "gpu": "no" }), json!({})] {
            let answer = put(labels.clone()).await;
            assert_eq!((answer.status, &answer.data()["labels"]), (200, &labels), "{answer:?}");
            let shown = app.get(&format!("/api/v2/admin/backends/{}", backend.id)).token(&boss.token).send().await;
            assert_eq!(shown.data()["labels"], labels);
        }
    }
}
