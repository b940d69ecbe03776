//! `GET /`: what this service is.

use serde::Serialize;
use utoipa::ToSchema;

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
#[utoipa::path(
    get,
    path = "/",
    operation_id = "home",
    tag = "Server",
    responses((status = 200, description = "The service.", body = Success<Home>), HomeErrors),
)]
pub async fn get() -> Reply<Home> {
    let data = Home { service: "dockhost", version: env!("CARGO_PKG_VERSION"), health: "/health", api: "/api/v2" };
    Reply::ok("DockHost: on-demand Linux machines", data)
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
