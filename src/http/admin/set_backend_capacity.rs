//! `PUT /api/v2/admin/backends/{backendId}/capacity`: sets how many containers a backend may have.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::backend::SetCapacity;
use dockhost_domain::envelope::Actor;
use serde::Deserialize;
use utoipa::ToSchema;

use super::change_backend::change_on;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentAdmin, IfMatch, Path};
use crate::http::response::documented::{ADMIN_OF_COMMAND, BODY, COMMAND, ON_VERSION, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::Backend;

/// What a backend may hold.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "maxContainers": 20 })))]
pub struct BackendCapacityRequest {
    /// The most containers that it may have.
    #[garde(range(min = 1, max = 3000))]
    #[schema(minimum = 1, maximum = 3000)]
    max_containers: u32,
}

error_responses!(CapacityErrors: ADMIN_OF_COMMAND, BODY, COMMAND, ON_VERSION, &[Code::NotFound]);

/// Set a backend's capacity
///
/// It counts for new instances at once, whatever the backend asked for; instances beyond it stay. Its agent learns of a
/// higher capacity when it connects again, within 10 minutes, and refuses instances beyond the former one until then.
#[utoipa::path(
    put,
    path = "/api/v2/admin/backends/{backendId}/capacity",
    operation_id = "setBackendCapacity",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("backendId" = Uuid, Path, description = "The backend's id."), IfMatch),
    request_body = BackendCapacityRequest,
    responses(
        (status = 200, description = "The backend has the capacity.", body = Success<Backend>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("ETag" = String, description = "For `If-Match` and `If-None-Match`."),
        )),
        CapacityErrors,
    ),
)]
pub async fn put(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(backend): Path<String>,
    if_match: IfMatch,
    Body(BackendCapacityRequest { max_containers }): Body<BackendCapacityRequest>,
) -> Result<Reply<Backend>, ApiError> {
    change_on(
        &app,
        app.origin(Actor::Admin(admin)),
        &backend,
        if_match,
        SetCapacity { max_containers },
        "the backend has this capacity",
    )
    .await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn set_backend_capacity_counts_whatever_the_backend_asked_for() {
        let app = TestApp::new().await;
        let (boss, backend) = (app.admin("boss").await, app.connected_backend("lab-1", 5).await);
        let path = format!("/api/v2/admin/backends/{}/capacity", backend.id);
        let put = |max| app.put(&path, json!({ "maxContainers": max })).token(&boss.token).send();
        assert_eq!(put(0).await.error(), (422, "validation_failed"));
        let answer = put(50).await;
        let shown = (&answer.data()["maxContainers"], &answer.data()["requestedMaxContainers"]);
        assert_eq!(shown, (&json!(50), &json!(5)), "{answer:?}");
        app.app.follower.wait_until_applied(app.log.events().len() as u64).await;
        assert_eq!(app.app.follower.fleet().candidates()[0].max_containers, 50);
        // Its agent is configured for 100.
        assert_eq!(put(500).await.data()["maxContainers"], 100);
    }
}
