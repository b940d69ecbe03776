//! The API's document at `/api/openapi.json`, Swagger UI over it at `/api/docs`, and the document of the contract for backends
//! at `/api/asyncapi.json`. All assets are in the binary; the pages make no request to another host.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::app::App;
use super::response::ApiError;
use super::{asyncapi, openapi};

const DOCUMENT_PATH: &str = "/api/openapi.json";
const ASYNCAPI_PATH: &str = "/api/asyncapi.json";
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
        .route(DOCUMENT_PATH, get(async || answer(&DOCUMENT)))
        .route(ASYNCAPI_PATH, get(async || answer(&ASYNCAPI)))
}

/// The document, which takes milliseconds to make. Anybody may ask for it as often as they like, so it is made once.
static DOCUMENT: LazyLock<Result<Bytes, serde_json::Error>> = LazyLock::new(|| Ok(openapi::json()?.into()));

static ASYNCAPI: LazyLock<Result<Bytes, serde_json::Error>> =
    LazyLock::new(|| Ok(serde_json::to_vec_pretty(&asyncapi::document()?)?.into()));

fn answer(document: &Result<Bytes, serde_json::Error>) -> Response {
    match document {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json.clone()).into_response(),
        Err(error) => ApiError::internal(error).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::{self, TestApp};

    #[tokio::test]
    async fn docs_serve_the_document_and_the_pages() {
        let app = TestApp::new().await;
        let document = app.get(DOCUMENT_PATH).send().await;
        assert_eq!((document.status, &document.body), (200, &*testing::DOCUMENT));
        assert_eq!(document.header("content-security-policy"), None);
        let backends = app.get(ASYNCAPI_PATH).send().await;
        assert_eq!((backends.status, &backends.body["asyncapi"]), (200, &serde_json::json!("3.0.0")));
        let moved = app.get(PAGES_PATH).send().await;
        assert_eq!((moved.status, moved.header("location")), (303, Some("/api/docs/")));
        for (path, content_type) in [
            ("/api/docs/", "text/html"),
            ("/api/docs/swagger-ui-bundle.js", "text/javascript"),
            ("/api/docs/swagger-initializer.js", "text/javascript"),
        ] {
            let page = app.get(path).send().await;
            assert_eq!((page.status, page.header("content-type")), (200, Some(content_type)), "{path}");
            assert_eq!(page.header("content-security-policy"), Some(CONTENT_SECURITY_POLICY));
        }
    }

    #[tokio::test]
    async fn document_is_made_once() {
        let mut bodies = Vec::new();
        for _ in 0..2 {
            let body = answer(&DOCUMENT).into_body();
            bodies.push(axum::body::to_bytes(body, usize::MAX).await.unwrap());
        }
        assert_eq!(bodies[0].as_ptr(), bodies[1].as_ptr());
    }

    #[tokio::test]
    async fn docs_switched_off_are_not_found() {
        let app = TestApp::with(|settings| settings.api_docs = false).await;
        for path in [DOCUMENT_PATH, ASYNCAPI_PATH, PAGES_PATH, "/api/docs/"] {
            assert_eq!(app.get(path).send().await.error(), (404, "not_found"), "{path}");
        }
    }
}
