//! The request's id and its trace: in the answer's header, in error bodies, in logs, and in events.
//!
//! tower-http's request-id layer takes any header value; this one checks it first, because the id is stored with
//! events for good, and makes it available to code without access to the request.

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use dockhost_telemetry::trace;
use tracing::field::Empty;

use super::measure;
use crate::common::clock;

/// The id, in requests (optional) and in every answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C trace context of the caller.
pub const TRACE_PARENT: HeaderName = HeaderName::from_static(dockhost_domain::trace::HEADER);
/// What [`is_request_id`] accepts, for the API's document.
pub const REQUEST_ID_PATTERN: &str = "^[A-Za-z0-9._-]{1,64}$";

tokio::task_local! {
    /// The id of the request that a task handles.
    static CURRENT: String;
}

/// The id of the request that this task handles; empty outside of one.
pub fn current() -> String {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

/// 1 to 64 letters, digits, `-`, `_`, `.`.
fn is_request_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The layer. The client's id counts if it is well-formed, else the request gets a new one.
pub async fn layer(request: Request, next: Next) -> Response {
    let id = header(request.headers(), REQUEST_ID).filter(|text| is_request_id(text));
    let id = id.map_or_else(|| clock::fresh_uuid().to_string(), str::to_owned);
    let parent = header(request.headers(), TRACE_PARENT).and_then(|text| text.parse().ok());
    // The route, not the path: a path may hold an instance's name, and logs are not sealed.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let method = measure::method_name(request.method());
    let span = tracing::info_span!("request", %id, trace = Empty, method, route);
    let mut response = trace::in_span(span, parent, CURRENT.scope(id.clone(), next.run(request))).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}
