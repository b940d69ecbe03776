//! CORS: only the configured frontend's origin may call with credentials.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::CorsLayer;

use crate::http::app::App;
use crate::http::consistency::{POSITION, STALE};
use crate::http::middleware::rate_limit::{RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::http::middleware::request_id::{REQUEST_ID, TRACE_PARENT};

/// How long browsers may cache the answer to a preflight request.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(600);

/// The layer; without a frontend it allows no origin.
pub fn layer(app: &App) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("prefer"),
            POSITION,
            REQUEST_ID,
            // Libraries for tracing add these to each request.
            TRACE_PARENT,
            HeaderName::from_static("tracestate"),
            HeaderName::from_static("baggage"),
        ])
        .expose_headers([
            header::LOCATION,
            header::RETRY_AFTER,
            RATE_LIMIT,
            RATE_LIMIT_POLICY,
            POSITION,
            STALE,
            REQUEST_ID,
        ])
        .max_age(PREFLIGHT_MAX_AGE);
    match app.settings.frontend.as_ref().and_then(|origin| HeaderValue::from_str(origin).ok()) {
        Some(origin) => layer.allow_origin(origin),
        None => layer.allow_origin([]),
    }
}
