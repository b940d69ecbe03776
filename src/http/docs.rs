//! The API's document at `/api/openapi.json`, and Swagger UI over it at `/api/docs`. All assets are in the binary; the
//! pages make no request to another host.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::app::App;
use super::openapi;
use super::response::ApiError;

const DOCUMENT_PATH: &str = "/api/openapi.json";
const PAGES_PATH: &str = "/api/docs";
/// Swagger UI sets styles on elements; everything else must come from this server.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                                       object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

/// The routes of the document and the pages.
pub fn routes() -> Router<Arc<App>> {
    // The badge of Swagger's online validator would send the document's address to another host.
    let config = Config::from(DOCUMENT_PATH).validator_url("none");
    let pages: Router<Arc<App>> = SwaggerUi::new(PAGES_PATH).config(config).into();
    let policy = HeaderValue::from_static(CONTENT_SECURITY_POLICY);
    pages
        .layer(SetResponseHeaderLayer::overriding(header::CONTENT_SECURITY_POLICY, policy))
        .route(DOCUMENT_PATH, get(document))
}

async fn document() -> impl IntoResponse {
    match openapi::json() {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => ApiError::internal(&error).into_response(),
    }
}
