//! The table of contents: every route, who may call it, and the layers around all of them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use super::access::Access::{Backend, Open, User};
use super::app::App;
use super::error::{ApiError, Code};
use super::reply::POSITION;
use super::routes::{Route, Routes};
use super::stale::STALE;
use super::{commands, queries, request_id, timeout, whole_body};

/// Every route, with who may call it.
pub fn list() -> Vec<Route> {
    routes().list()
}

fn routes() -> Routes {
    Routes::new()
        .get("/", Open, queries::home::get)
        .get("/health", Open, queries::health::get)
        .post("/api/v2/user/signup", Open, commands::signup::post)
        .post("/api/v2/user/signin", Open, commands::signin::post)
        .post("/api/v2/user/signout", User, commands::signout::post)
        .post("/api/v2/user/instance", User, commands::create_instance::post)
        .get("/api/v2/user/instance", User, queries::instances::get)
        .delete("/api/v2/user/instance", User, commands::change_instance::delete)
        .put("/api/v2/user/instance/stop", User, commands::change_instance::stop)
        .put("/api/v2/user/instance/resume", User, commands::change_instance::resume)
        .get("/api/v2/user/instance/{instanceId}", User, queries::instance::get)
        .get("/api/v2/operations/{id}", User, queries::operation::get)
        .post("/api/v2/backend/signup", Open, commands::backend_signup::post)
        .post("/api/v2/backend/signin", Open, commands::backend_signin::post)
        .get("/api/v2/backend", Backend, queries::backend::get)
}

/// The whole service.
pub fn service(app: &Arc<App>) -> Router {
    let fixed = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    routes()
        .mount(app)
        .fallback(|| async { ApiError::not_found("path") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(Code::MethodNotAllowed, "this path does not take this method")
        })
        .layer(from_fn(whole_body::layer))
        .layer(from_fn(timeout::layer))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(cors(app))
        .layer(fixed(header::CACHE_CONTROL, "no-store"))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(from_fn(request_id::layer))
        .with_state(Arc::clone(app))
}

/// The frontend's origin may call with credentials; no other origin may.
fn cors(app: &App) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("prefer"),
            POSITION,
        ])
        .expose_headers([
            header::LOCATION,
            header::RETRY_AFTER,
            POSITION,
            STALE,
            HeaderName::from_static("x-request-id"),
        ])
        .max_age(Duration::from_secs(600));
    match app.settings.frontend.as_ref().and_then(|origin| HeaderValue::from_str(origin).ok()) {
        Some(origin) => layer.allow_origin(origin),
        None => layer.allow_origin([]),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the layer gives it away")]
fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref().cloned());
    tracing::error!(panic = text.unwrap_or_default(), "a handler panicked");
    let mut response = ApiError::new(Code::Internal, "something went wrong on our side").into_response();
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
