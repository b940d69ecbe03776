//! The request's id: in the answer's header, in error bodies, in the log, and in the cause of events.
//!
//! In: `x-request-id`, if it is short and plain, and `traceparent`, if it is one. Out: that id, or a fresh one, for as
//! long as the request is worked on; and the trace that the request belongs to, for the events that come of it.

use axum::extract::{MatchedPath, Request};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use crate::common::clock;

const HEADER: &str = "x-request-id";

/// What is known of the request that a task works on.
#[derive(Clone, Default)]
struct Current {
    id: String,
    trace_parent: Option<String>,
}

tokio::task_local! {
    static CURRENT: Current;
}

/// The id of the request that this task works on; empty outside of one.
pub fn current() -> String {
    CURRENT.try_with(|current| current.id.clone()).unwrap_or_default()
}

/// The trace that this task's request belongs to, as W3C trace context has it.
pub fn trace_parent() -> Option<String> {
    CURRENT.try_with(|current| current.trace_parent.clone()).unwrap_or_default()
}

/// Whether a text is a `traceparent`: four fields of lower-case hex of the right lengths. It goes into the log for ever.
fn is_trace_parent(text: &str) -> bool {
    let hex = |field: &str| field.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let fields: Vec<&str> = text.split('-').collect();
    fields.iter().map(|field| field.len()).eq([2, 32, 16, 2]) && fields.into_iter().all(hex)
}

/// Gives each request its id.
pub async fn layer(request: Request, next: Next) -> Response {
    let plain = |text: &&str| {
        (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let given = request.headers().get(HEADER).and_then(|value| value.to_str().ok()).filter(plain);
    let id = given.map_or_else(|| clock::fresh_uuid().to_string(), str::to_owned);
    // The route and not the path: people name instances in it, and the service's log is not sealed.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let span = tracing::info_span!("request", %id, method = %request.method(), route);
    let parent = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    let trace_parent = parent.filter(|text| is_trace_parent(text)).map(str::to_owned);
    let current = Current { id: id.clone(), trace_parent };
    let mut response = CURRENT.scope(current, next.run(request).instrument(span)).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trace_parent_is_taken_for_one() {
        assert!(is_trace_parent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for text in
            ["", "00-4bf9-00f0-01", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", "ada@example.org"]
        {
            assert!(!is_trace_parent(text), "{text} was taken");
        }
    }
}
