//! The table of contents: every route, who may call it, and the layers around all of them.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::from_fn;
use tower_http::set_header::SetResponseHeaderLayer;

use super::app::App;
use super::extract::caller::Access::{Backend, Open, User};
use super::middleware::{body_limit, cors, panic, request_id, timeout};
use super::response::{ApiError, Code};
use super::routes::{Route, Routes};
use super::{commands, queries};

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
            ApiError::new(Code::MethodNotAllowed, "this path does not support this method")
        })
        .layer(from_fn(body_limit::layer))
        .layer(from_fn(timeout::layer))
        .layer(panic::layer())
        .layer(cors::layer(app))
        .layer(fixed(header::CACHE_CONTROL, "no-store"))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(from_fn(request_id::layer))
        .with_state(Arc::clone(app))
}
