//! `GET /api/v2/admin/backends/{backendId}`: one backend.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::ids::BackendId;
use dockhost_projections::backends::Backends;
use dockhost_projections::instances::{Instances, SumBy};

pub use super::backend_view::AdminBackend;
use crate::http::app::App;
use crate::http::consistency::{self, LogPosition, Shown};
use crate::http::extract::{CurrentAdmin, IfNoneMatch, Path, ReadPosition};
use crate::http::response::documented::{ADMIN, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};

error_responses!(AdminBackendErrors: ADMIN, READ_MODEL, &[Code::NotFound]);

/// Get a backend
#[utoipa::path(
    get,
    path = "/api/v2/admin/backends/{backendId}",
    operation_id = "getAnyBackend",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("backendId" = Uuid, Path, description = "The backend's id."), IfNoneMatch, ReadPosition),
    responses(
        (status = 200, description = "The backend.", body = Success<AdminBackend>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("ETag" = String, description = "For `If-Match` and `If-None-Match`."),
            ("Dockhost-Stale" = u64, description = "If events are missing: the first sequence that is."),
        )),
        (status = 304, description = "You have this answer."),
        AdminBackendErrors,
    ),
)]
pub async fn get(
    CurrentAdmin { .. }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(backend_id): Path<String>,
    position: ReadPosition,
    known: IfNoneMatch,
) -> Result<Reply<AdminBackend>, ApiError> {
    let not_found = || ApiError::not_found("backend");
    let backend_id: BackendId = backend_id.parse().map_err(|_| not_found())?;
    let Shown { value, stale_since, sequence } = find(&app, position, backend_id).await?;
    let data = value.ok_or_else(not_found)?;
    let version = data.version().clone();
    Ok(Reply::ok("the backend", data).version(version, known).stale(stale_since).position(app.position(sequence)))
}

/// A backend; none if it was removed.
///
/// # Errors
/// Those of the read models.
pub async fn find(
    app: &App,
    position: ReadPosition,
    backend_id: BackendId,
) -> Result<Shown<Option<AdminBackend>>, ApiError> {
    let backend = consistency::read::<Backends, _>(app, position, || app.store.backend(backend_id)).await?;
    let ids = [backend_id.to_string()];
    let sum = || app.store.instance_sums(SumBy::Backend, &ids);
    let sums = consistency::read::<Instances, _>(app, position, sum).await?;
    let stale_since = backend.stale_since.or(sums.stale_since);
    let sequence = backend.value.as_ref().map_or(0, |document| document.seq).max(backend.sequence);
    let instances = sums.value.into_values().next().unwrap_or_default().instances;
    let view = |document| AdminBackend::new(app, document, stale_since, instances);
    Ok(Shown { value: backend.value.map(view), stale_since, sequence })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn get_any_backend_shows_it_or_answers_not_found() {
        let app = TestApp::new().await;
        let (boss, lab) = (app.admin("boss").await, app.connected_backend("lab-1", 9).await);
        let get = |id: &str| app.get(&format!("/api/v2/admin/backends/{id}")).token(&boss.token).send();
        let answer = get(&lab.id.to_string()).await;
        assert_eq!((&answer.data()["username"], &answer.data()["instances"]), (&json!("lab-1"), &json!(0)));
        for id in ["lab-1", &boss.id.to_string(), "%ff"] {
            assert_eq!(get(id).await.error(), (404, "not_found"), "{id}");
        }
    }
}
