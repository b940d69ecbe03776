//! The request's id: in the answer's header, in error bodies, in the log, and in the cause of events.
//!
//! In: `x-request-id`, if it is short and plain. Out: that, or a fresh one, for as long as the request is worked on.

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use crate::clock;

const HEADER: &str = "x-request-id";

tokio::task_local! {
    static CURRENT: String;
}

/// The id of the request that this task works on; empty outside of one.
pub fn current() -> String {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

/// Gives each request its id.
pub async fn layer(request: Request, next: Next) -> Response {
    let plain = |text: &&str| {
        (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let given = request.headers().get(HEADER).and_then(|value| value.to_str().ok()).filter(plain);
    let id = given.map_or_else(|| clock::fresh_uuid().to_string(), str::to_owned);
    let span = tracing::info_span!("request", %id, method = %request.method(), path = request.uri().path());
    let mut response = CURRENT.scope(id.clone(), next.run(request).instrument(span)).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}
