//! Measures each request, and writes a line about it (`DEBUG=dockhost:access`).

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

use crate::common::areas;
use crate::http::app::App;
use crate::metrics::Route;

/// The layer. It must be within that of the request's id, whose span the line belongs to.
pub async fn layer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = method_name(request.method());
    let response = next.run(request).await;
    let (status, duration) = (response.status().as_u16(), began.elapsed());
    tracing::debug!(target: areas::ACCESS, status, ms = duration.as_secs_f64() * 1000.0, "answered");
    app.metrics.requests.record(Route { method, route }, status, duration);
    response
}

/// Clients can send any word as a method.
pub(super) fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
