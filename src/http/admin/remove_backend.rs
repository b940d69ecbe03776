//! `DELETE /api/v2/admin/backends/{backendId}`: removes a backend from the fleet.
//!
//! The removal, the release of its name and the end of its sessions are one batch. What becomes of its instances is the
//! leader's reaction to it.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::backend::{self, RemoveBackend, RemoveRejected};
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::BackendId;
use dockhost_projections::backends::Backends;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::change_backend::backend_id;
use crate::accounts::remove_backend::remove_backend;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentAdmin, IfMatch, Path, Query};
use crate::http::response::documented::{ADMIN_OF_COMMAND, COMMAND, ON_VERSION, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::version::OnVersion;
use crate::http::views::version_of_machine;

/// How to remove it.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct RemoveBackendParameters {
    /// Whether to remove it although it is not cordoned.
    #[serde(default)]
    #[param(default = false)]
    force: bool,
}

/// A backend that was removed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemovedBackend {
    #[schema(value_type = Uuid)]
    id: BackendId,
}

error_responses!(
    RemoveErrors: ADMIN_OF_COMMAND, COMMAND, ON_VERSION, &[Code::ValidationFailed, Code::NotFound, Code::NotCordoned]
);

fn rejected(rejection: &RemoveRejected) -> ApiError {
    match rejection {
        RemoveRejected::NotEnrolled => ApiError::not_found("backend"),
        RemoveRejected::NotCordoned => {
            ApiError::new(Code::NotCordoned, "the backend may be given instances; cordon it first, or use force=true")
        }
    }
}

/// Remove a backend
///
/// For good: also rejects one that awaits approval. Instances that are being created continue on other backends, those that
/// are being deleted are deleted, and the others are `failed`: their files are not reachable any more. If its agent connects
/// again, it is told to remove the containers. A repeated request answers the same.
#[utoipa::path(
    delete,
    path = "/api/v2/admin/backends/{backendId}",
    operation_id = "removeBackend",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("backendId" = Uuid, Path, description = "The backend's id."), RemoveBackendParameters, IfMatch),
    responses(
        (status = 200, description = "The backend is removed.", body = Success<RemovedBackend>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the removal in the log."),
        )),
        RemoveErrors,
    ),
)]
pub async fn delete(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(backend): Path<String>,
    if_match: IfMatch,
    Query(RemoveBackendParameters { force }): Query<RemoveBackendParameters>,
) -> Result<Reply<RemovedBackend>, ApiError> {
    let id = backend_id(&backend)?;
    let origin = app.origin(Actor::Admin(admin));
    let version = |backend: &backend::Backend| backend.machine.as_ref().map(version_of_machine);
    let command = OnVersion { if_match, version, command: RemoveBackend { force } };
    let sequence = remove_backend(&app.executor, &app.keyring, id, &command, &origin)
        .await
        .map_err(|error| from_execute(error, |refused| refused.answer(|rejection| rejected(&rejection))))?;
    app.wait_until_projected::<Backends>(sequence).await;
    Ok(Reply::ok("the backend is removed", RemovedBackend { id }).position(app.position(sequence)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::{PASSWORD, TestApp};

    fn path(id: impl std::fmt::Display) -> String {
        format!("/api/v2/admin/backends/{id}")
    }

    #[tokio::test]
    async fn remove_needs_a_cordon_or_force_and_can_be_repeated() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        let delete = |path: String| app.delete(&path).token(&boss.token).send();
        let backend = app.connected_backend("lab-1", 5).await;
        assert_eq!(delete(path(backend.id)).await.error(), (409, "not_cordoned"));
        app.cordon(backend.id, true).await;
        for _ in 0..2 {
            let answer = delete(path(backend.id)).await;
            assert_eq!((answer.status, &answer.data()["id"]), (200, &json!(backend.id.to_string())), "{answer:?}");
        }
        let other = app.connected_backend("lab-2", 5).await;
        assert_eq!(delete(path(format!("{}?force=perhaps", other.id))).await.error(), (422, "validation_failed"));
        assert_eq!(delete(path(format!("{}?force=true", other.id))).await.status, 200);
        let pending = app.pending_backend("lab-3").await;
        assert_eq!(delete(path(pending)).await.status, 200, "it is rejected");
        for id in ["lab-1".to_owned(), boss.id.to_string()] {
            assert_eq!(delete(path(id)).await.error(), (404, "not_found"));
        }
    }

    #[tokio::test]
    async fn backend_changed_since_the_administrator_saw_it_is_not_removed() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        let path = path(app.connected_backend("lab-1", 5).await.id);
        let etag = async || {
            let shown = app.get(&path).token(&boss.token).send().await;
            shown.header("etag").unwrap().to_owned()
        };
        let remove = |etag: &str| {
            let request = app.delete(&format!("{path}?force=true")).token(&boss.token);
            request.header("if-match", etag).send()
        };
        let seen = etag().await;
        let labels = app.put(&format!("{path}/labels"), json!({ "labels": { "gpu": "yes" } })).token(&boss.token);
        assert_eq!(labels.send().await.status, 200);
        let events = app.log.events().len();
        assert_eq!(remove(&seen).await.error(), (412, "precondition_failed"));
        assert_eq!(app.log.events().len(), events);
        assert_eq!(remove(&etag().await).await.status, 200);
    }

    #[tokio::test]
    async fn removed_backend_is_in_no_list_and_count_and_its_name_is_free() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        let backend = app.signed_up_backend("lab-1").await;
        app.connect(backend.id).await;
        assert_eq!(app.delete(&path(format!("{}?force=true", backend.id))).token(&boss.token).send().await.status, 200);
        app.app.follower.wait_until_applied(app.log.events().len() as u64).await;
        assert_eq!(app.get("/api/v2/backend").token(&backend.token).send().await.error(), (401, "unauthorized"));
        assert_eq!(app.get(&path(backend.id)).token(&boss.token).send().await.error(), (404, "not_found"));
        let list = app.get("/api/v2/admin/backends").token(&boss.token).send().await;
        assert_eq!(list.data()["items"], json!([]));
        let health = app.app.follower.fleet().health();
        assert_eq!((health.registered, health.connected), (0, 0));
        assert_eq!(app.app.follower.fleet().candidates().len(), 0);
        let credentials = json!({ "username": "lab-1", "password": PASSWORD });
        let sign_in = app.post("/api/v2/backend/signin", credentials.clone()).send().await;
        assert_eq!(sign_in.error(), (401, "invalid_credentials"));
        assert_ne!(app.signed_up_backend("lab-1").await.id, backend.id);
    }
}
