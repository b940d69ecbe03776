//! `POST /api/v2/admin/backends/{backendId}/approve`: admits a backend that awaits approval.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::backend::ApproveBackend;
use dockhost_domain::envelope::Actor;
use serde::Deserialize;
use utoipa::ToSchema;

use super::change_backend::change;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentAdmin, Path, Repeatable};
use crate::http::response::documented::{ADMIN_OF_COMMAND, BODY, COMMAND, REPEATABLE, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::Backend;

/// What the backend may hold.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "maxContainers": 20 })))]
pub struct ApproveBackendRequest {
    /// The most containers that it may have; the default is what it asked for.
    #[garde(range(min = 1, max = 3000))]
    #[schema(minimum = 1, maximum = 3000)]
    max_containers: Option<u32>,
}

error_responses!(ApproveErrors: ADMIN_OF_COMMAND, BODY, COMMAND, REPEATABLE, &[Code::NotFound]);

/// Approve a backend
///
/// It can be given instances from now on. If it was approved before, only its capacity changes. To reject a backend, delete
/// it. The body may be absent.
#[utoipa::path(
    post,
    path = "/api/v2/admin/backends/{backendId}/approve",
    operation_id = "approveBackend",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("backendId" = Uuid, Path, description = "The backend's id."), Repeatable),
    request_body = Option<ApproveBackendRequest>,
    responses(
        (status = 200, description = "The backend is approved.", body = Success<Backend>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        ApproveErrors,
    ),
)]
pub async fn post(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(backend): Path<String>,
    key: Repeatable,
    Body(ApproveBackendRequest { max_containers }): Body<ApproveBackendRequest>,
) -> Result<Reply<Backend>, ApiError> {
    change(
        &app,
        key.origin(&app, Actor::Admin(admin)),
        &backend,
        ApproveBackend { max_containers },
        "the backend is approved",
    )
    .await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn approve_lets_a_pending_backend_take_instances() {
        let app = TestApp::new().await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        let backend = app.pending_backend("lab-1").await;
        app.connect(backend).await;
        let create = || {
            let create = app.post("/api/v2/user/instance", json!({}));
            create.token(&ada.token).header("prefer", "respond-async").send()
        };
        let refused = create().await;
        assert_eq!((refused.error(), &refused.details()["reasons"]), ((503, "no_backend"), &json!({ "pending": 1 })));
        let approve = |body| {
            let path = format!("/api/v2/admin/backends/{backend}/approve");
            app.post(&path, body).token(&boss.token).send()
        };
        for max in [0, 3001] {
            assert_eq!(approve(json!({ "maxContainers": max })).await.error(), (422, "validation_failed"));
        }
        let approved = approve(json!({ "maxContainers": 1 })).await;
        let shown = |member: &str| approved.data()[member].clone();
        assert_eq!(approved.status, 200, "{approved:?}");
        assert_eq!((shown("status"), shown("maxContainers")), (json!("connected"), json!(1)));
        assert_eq!(shown("requestedMaxContainers"), json!(5));
        app.app.follower.wait_until_applied(app.log.events().len() as u64).await;
        assert_eq!([create().await.status, create().await.status], [202, 503], "there is room for one");
        // Somebody else may have approved it meanwhile.
        assert_eq!(approve(json!({ "maxContainers": 2 })).await.data()["maxContainers"], 2);
    }
}
