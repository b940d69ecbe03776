//! The request id and trace context: in the answer's header, in error bodies, in logs, and in events.
//!
//! tower-http's request-id layer takes any header value; this one checks it first, because the id is stored with
//! events for good, and makes it available to code without access to the request.

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use crate::common::clock;

/// The id, in requests (optional) and in every answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C trace context of the caller.
pub const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
/// What [`is_request_id`] accepts, for the API's document.
pub const REQUEST_ID_PATTERN: &str = "^[A-Za-z0-9._-]{1,64}$";

/// The context of the request that a task handles.
#[derive(Clone, Default)]
struct RequestContext {
    id: String,
    trace_parent: Option<String>,
}

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// The id of the request that this task handles; empty outside of one.
pub fn current() -> String {
    CURRENT.try_with(|current| current.id.clone()).unwrap_or_default()
}

/// The request's W3C `traceparent`, if it has one.
pub fn trace_parent() -> Option<String> {
    CURRENT.try_with(|current| current.trace_parent.clone()).unwrap_or_default()
}

/// 1 to 64 letters, digits, `-`, `_`, `.`.
fn is_request_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Four fields of lower-case hex of the specified lengths. The value is stored with events for good.
fn is_trace_parent(text: &str) -> bool {
    let hex = |field: &str| field.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let fields: Vec<&str> = text.split('-').collect();
    fields.iter().map(|field| field.len()).eq([2, 32, 16, 2]) && fields.into_iter().all(hex)
}

/// The client's id if it is well-formed, else a new one.
fn context(headers: &HeaderMap) -> RequestContext {
    let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let id = header(REQUEST_ID).filter(|text| is_request_id(text));
    let trace_parent = header(TRACE_PARENT).filter(|text| is_trace_parent(text));
    RequestContext {
        id: id.map_or_else(|| clock::fresh_uuid().to_string(), str::to_owned),
        trace_parent: trace_parent.map(str::to_owned),
    }
}

/// The layer.
pub async fn layer(request: Request, next: Next) -> Response {
    let context = context(request.headers());
    let id = context.id.clone();
    // The route, not the path: a path may hold an instance's name, and logs are not sealed.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let span = tracing::info_span!("request", %id, method = %request.method(), route);
    let mut response = CURRENT.scope(context, next.run(request).instrument(span)).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_parent_malformed_is_rejected() {
        assert!(is_trace_parent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for text in
            ["", "00-4bf9-00f0-01", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", "ada@example.org"]
        {
            assert!(!is_trace_parent(text), "{text} was accepted");
        }
    }
}
