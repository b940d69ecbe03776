//! Answers 500 in the envelope when a handler panics.

use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use crate::http::response::ApiError;

/// The layer.
pub fn layer() -> CatchPanicLayer<fn(Box<dyn std::any::Any + Send>) -> Response> {
    CatchPanicLayer::custom(respond)
}

#[expect(clippy::needless_pass_by_value, reason = "the layer passes it by value")]
fn respond(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref().cloned());
    ApiError::bug(&format!("a handler panicked: {}", text.unwrap_or_default())).into_response()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::{Request, header};
    use axum::routing::get;
    use tower::ServiceExt;

    #[tokio::test]
    async fn panic_in_a_handler_is_500_in_the_envelope() {
        async fn panics() -> &'static str {
            panic!("on purpose")
        }
        let app: Router = Router::new().route("/", get(panics)).layer(super::layer());
        let answer = app.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
    }
}
