//! `GET /health/ready`: whether this replica should get requests, as [`super::health`] decides it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::health::{assess, status_code};
use crate::http::app::App;
use crate::http::response::documented::error_responses;
use crate::http::views::health::Readiness;

error_responses!(ReadyErrors:);

/// Whether this replica should get requests
///
/// The same status as `/health`, in a small answer for probes. This answer has no envelope.
#[utoipa::path(
    get,
    path = "/health/ready",
    operation_id = "ready",
    tag = "Server",
    responses(
        (status = 200, description = "It serves requests.", body = Readiness),
        (status = 503, description = "It can't serve all requests now.", body = Readiness),
        ReadyErrors,
    ),
)]
pub async fn get(State(app): State<Arc<App>>) -> (StatusCode, Json<Readiness>) {
    let health = assess(&app).await;
    let readiness =
        Readiness { ready: health.status.is_ready(), status: health.status, phase: health.phase, down: health.down };
    (status_code(health.status), Json(readiness))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn ready_is_what_health_says() {
        let app = TestApp::new().await;
        let ready = app.get("/health/ready").send().await;
        let expected = json!({ "ready": true, "status": "healthy", "phase": "serving", "down": [] });
        assert_eq!((ready.status, &ready.body), (200, &expected));
        app.app.stages.announced.cancel();
        let stopping = app.get("/health/ready").send().await;
        let expected = json!({ "ready": false, "status": "unhealthy", "phase": "stopping", "down": [] });
        assert_eq!((stopping.status, &stopping.body), (503, &expected));
    }

    #[tokio::test]
    async fn ready_without_the_database_is_503_with_the_reason() {
        let app = TestApp::new().await;
        app.store.set_unavailable(true);
        let answer = app.get("/health/ready").send().await;
        let expected = json!({ "ready": false, "status": "unhealthy", "phase": "serving", "down": ["database"] });
        assert_eq!((answer.status, &answer.body), (503, &expected));
    }
}
