//! The time limit of a request. tower-http's `TimeoutLayer` answers without a body; this layer uses the envelope.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::http::extract::MAX_WAIT;
use crate::http::response::{ApiError, Code};

/// Time on top of the longest wait that a caller may ask for: the append, the read models, the answer.
const MARGIN: Duration = Duration::from_secs(15);

/// The layer. Commands run in tasks of their own, so a timeout never stops one half-way.
pub async fn layer(request: Request, next: Next) -> Response {
    match tokio::time::timeout(MAX_WAIT + MARGIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(Code::RequestTimeout, "the request took too long").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt;

    #[tokio::test(start_paused = true)]
    async fn timeout_without_an_answer_is_408() {
        let app = Router::new().route("/", get(std::future::pending::<()>)).layer(from_fn(super::layer));
        let answer = app.oneshot(axum::http::Request::new(Body::empty())).await.unwrap();
        assert_eq!(answer.status(), 408);
    }
}
