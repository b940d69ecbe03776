//! `GET /`: what this is, and where to go from here.

use crate::http::response::Reply;
use serde_json::json;

/// Handles the request.
pub async fn get() -> Reply {
    let data =
        json!({ "service": "dockhost", "version": env!("CARGO_PKG_VERSION"), "health": "/health", "api": "/api/v2" });
    Reply::ok("DockHost: on-demand Linux machines", data)
}
