//! The bound on every request: longer than the longest wait that a caller may ask for, and an answer in the envelope.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::{ApiError, Code};
use super::prefer::LONGEST_WAIT;

/// Beyond the wait: the append, the read models, the answer.
const SLACK: Duration = Duration::from_secs(15);

/// Bounds a request. Commands run in tasks of their own, so that nothing is left half done when this strikes.
pub async fn layer(request: Request, next: Next) -> Response {
    match tokio::time::timeout(LONGEST_WAIT + SLACK, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(Code::RequestTimeout, "the request took too long").into_response(),
    }
}
