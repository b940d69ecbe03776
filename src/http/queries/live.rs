//! `GET /health/live`: whether this process answers. It asks nothing else, so that nothing restarts a replica because its
//! database is away.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::http::app::App;
use crate::http::response::documented::error_responses;
use crate::http::views::health::Liveness;

error_responses!(LiveErrors:);

/// Whether this process answers
///
/// This answer has no envelope.
#[utoipa::path(
    get,
    path = "/health/live",
    operation_id = "live",
    tag = "Server",
    responses((status = 200, description = "It does.", body = Liveness), LiveErrors),
)]
pub async fn get(State(app): State<Arc<App>>) -> Json<Liveness> {
    Json(Liveness { live: true, uptime: app.started.elapsed().as_secs() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn live_with_everything_down_is_200() {
        let app = TestApp::new().await;
        app.store.set_unavailable(true);
        app.log.set_unavailable(true);
        app.app.stages.announced.cancel();
        let answer = app.get("/health/live").send().await;
        assert_eq!((answer.status, &answer.body["live"]), (200, &json!(true)), "{answer:?}");
    }
}
