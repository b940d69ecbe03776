//! The table of contents: every endpoint, and the layers around them. An endpoint's file has its path, its document and
//! its caller.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Uri, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, put};
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::middleware::{asked_for, body_limit, cookie_site, cors, measure, panic, rate_limit, request_id, timeout};
use super::openapi::ApiDocument;
use super::response::{ApiError, Code};
use super::sockets::Sockets;
use super::{admin, commands, dockhost_v2, docs, metrics, pages, queries};

/// [`api`], made once: that takes longer than many requests, and both the service and the document begin with it.
static API: LazyLock<(Router<Arc<App>>, Document)> = LazyLock::new(|| api().split_for_parts());

/// The document as the endpoints describe themselves.
pub fn document_of_endpoints() -> Document {
    API.1.clone()
}

/// Every endpoint, with its document.
fn api() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(ApiDocument::openapi())
        .routes(routes!(commands::signup::post))
        .routes(routes!(commands::signin::post))
        .routes(routes!(commands::refresh::post))
        .routes(routes!(commands::signout::post))
        .routes(routes!(queries::me::get, commands::update_profile::patch, commands::delete_account::delete))
        .routes(routes!(queries::export_account::get))
        .routes(routes!(commands::change_password::put))
        .routes(routes!(commands::reset_password::post))
        .routes(routes!(queries::sessions::get, commands::end_sessions::delete))
        .routes(routes!(commands::end_session::delete))
        .routes(routes!(queries::tokens::get, commands::create_token::post))
        .routes(routes!(commands::revoke_token::delete))
        .routes(routes!(queries::ssh_keys::get, commands::add_ssh_key::post))
        .routes(routes!(commands::remove_ssh_key::delete))
        .routes(routes!(commands::create_instance::post, commands::delete_instance::delete, queries::instances::get))
        .routes(routes!(commands::stop_instance::put))
        .routes(routes!(commands::resume_instance::put))
        .routes(routes!(queries::instance::get, commands::change_instance::patch))
        .routes(routes!(queries::instance_history::get))
        .routes(routes!(commands::set_instance_keys::put))
        .routes(routes!(queries::events::get))
        .routes(routes!(queries::webhooks::get, commands::create_webhook::post))
        .routes(routes!(queries::webhook::get, commands::change_webhook::patch, commands::remove_webhook::delete))
        .routes(routes!(commands::rotate_webhook_secret::post))
        .routes(routes!(commands::ping_webhook::post))
        .routes(routes!(commands::resume_webhook::post))
        .routes(routes!(queries::webhook_deliveries::get))
        .routes(routes!(queries::operation::get))
        .routes(routes!(commands::backend_signup::post))
        .routes(routes!(commands::backend_signin::post))
        .routes(routes!(queries::backend::get))
        .routes(routes!(queries::health::get))
        .routes(routes!(queries::live::get))
        .routes(routes!(queries::ready::get))
        .routes(routes!(queries::home::get))
        .merge(administration())
}

/// What only administrators may call.
fn administration() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(admin::users::get))
        .routes(routes!(admin::user::get, admin::erase_user::delete))
        .routes(routes!(admin::change_role::put))
        .routes(routes!(admin::disable_user::post))
        .routes(routes!(admin::enable_user::post))
        .routes(routes!(admin::end_user_sessions::delete))
        .routes(routes!(admin::reset_user_password::post))
        .routes(routes!(admin::quota::get, admin::set_quota::put))
        .routes(routes!(admin::backends::get))
        .routes(routes!(admin::backend::get, admin::remove_backend::delete))
        .routes(routes!(admin::approve_backend::post))
        .routes(routes!(admin::set_backend_capacity::put))
        .routes(routes!(admin::set_backend_labels::put))
        .routes(routes!(admin::explain_placement::post))
        .routes(routes!(admin::cordon_backend::post))
        .routes(routes!(admin::uncordon_backend::post))
        .routes(routes!(admin::backend_drain::get, admin::drain_backend::post))
        .routes(routes!(admin::undrain_backend::post))
        .routes(routes!(admin::revoke_backend_key::post))
        .routes(routes!(admin::issue_backend_key::post))
        .routes(routes!(admin::rotate_backend_key::post))
        .routes(routes!(admin::enrolment_tokens::get, admin::create_enrolment_token::post))
        .routes(routes!(admin::revoke_enrolment_token::delete))
        .routes(routes!(admin::groups::get, admin::create_group::post))
        .routes(routes!(admin::group::get, admin::change_group::patch, admin::delete_group::delete))
        .routes(routes!(admin::set_user_group::put))
        .routes(routes!(admin::invitations::get, admin::create_invitation::post))
        .routes(routes!(admin::revoke_invitation::delete))
        .routes(routes!(admin::instances::get))
        .routes(routes!(admin::stop_instance::post))
        .routes(routes!(admin::resume_instance::post))
        .routes(routes!(admin::instance::get, admin::delete_instance::delete, admin::change_instance::patch))
        .routes(routes!(admin::instance_history::get))
        .routes(routes!(admin::audit::get))
        .routes(routes!(admin::events::get))
        .routes(routes!(admin::webhooks::get, admin::create_webhook::post))
        .routes(routes!(admin::usage::get))
        .routes(routes!(admin::sessions::get))
        .routes(routes!(admin::end_any_session::delete))
        .routes(routes!(admin::quarantine::get))
        .routes(routes!(admin::retry_quarantined::post))
        .routes(routes!(admin::refusals::get))
        .routes(routes!(admin::settings::get))
        .routes(routes!(admin::charts::get))
}

/// Endpoints under the paths of DockHostV2.
fn dockhost_v2_paths() -> Router<Arc<App>> {
    let instances = get(queries::instances::get);
    Router::new()
        .route(
            dockhost_v2::INSTANCES,
            instances.post(commands::create_instance::post).delete(commands::delete_instance::delete),
        )
        .route(dockhost_v2::STOP, put(commands::stop_instance::put))
        .route(dockhost_v2::RESUME, put(commands::resume_instance::put))
}

/// The whole service.
pub fn service(app: &Arc<App>, sockets: &Sockets) -> Router {
    let default_header = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    let router = API.0.clone().merge(dockhost_v2_paths()).merge(pages::routes(app));
    let router = if app.settings.api_docs { router.merge(docs::routes()) } else { router };
    let router = match app.settings.metrics_token.clone() {
        Some(token) => router.merge(metrics::beside_api(token)),
        None => router,
    };
    router
        .fallback(|uri: Uri| async move {
            let has_slash = uri.path().len() > 1 && uri.path().ends_with('/');
            ApiError::not_found(if has_slash { "path; it must not end with a slash" } else { "path" })
        })
        .method_not_allowed_fallback(|| async {
            ApiError::new(Code::MethodNotAllowed, "this path does not support this method")
        })
        .layer(from_fn(asked_for::layer))
        .layer(from_fn(body_limit::layer))
        .layer(from_fn(timeout::layer))
        .layer(from_fn_with_state(Arc::clone(app), rate_limit::layer))
        // A poll takes as long as nothing happens, and Socket.IO has limits of its own.
        .merge(sockets.routes())
        .layer(panic::layer())
        .layer(from_fn_with_state(Arc::clone(app), cookie_site::layer))
        .layer(cors::layer(app))
        .layer(default_header(header::CACHE_CONTROL, "no-store"))
        .layer(default_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(from_fn_with_state(Arc::clone(app), measure::layer))
        .layer(from_fn(request_id::layer))
        .with_state(Arc::clone(app))
}
