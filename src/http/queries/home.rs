//! `GET /`: what this service is; for browsers, a page.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::app::App;
use crate::http::extract::accepts;
use crate::http::pages;
use crate::http::response::documented::error_responses;
use crate::http::response::{Reply, Success};

/// What this service is, and where to find the rest.
#[derive(Serialize, ToSchema)]
pub struct Home {
    service: &'static str,
    version: &'static str,
    /// The path of the health check.
    health: &'static str,
    /// The path below which the API is.
    api: &'static str,
}

error_responses!(HomeErrors:);

/// Name and version
///
/// With `Accept: text/html`, a page for people that shows whether the service is up.
#[utoipa::path(
    get,
    path = "/",
    operation_id = "home",
    tag = "Server",
    responses(
        (
            status = 200,
            description = "The service.",
            content((Success<Home> = "application/json"), (String = "text/html")),
        ),
        HomeErrors,
    ),
)]
pub async fn get(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let mut response = if accepts(&headers, "text/html") { pages::status(&app).await } else { description() };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

fn description() -> Response {
    let data = Home { service: "dockhost", version: env!("CARGO_PKG_VERSION"), health: "/health", api: "/api/v2" };
    Reply::ok("DockHost: on-demand Linux machines", data).into_response()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn home_names_the_service() {
        let answer = TestApp::new().await.get("/").send().await;
        let data = json!({
            "service": "dockhost", "version": env!("CARGO_PKG_VERSION"), "health": "/health", "api": "/api/v2",
        });
        assert_eq!((answer.status, answer.data()), (200, &data));
    }
}
