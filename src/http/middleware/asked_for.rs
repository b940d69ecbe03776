//! What a request with an `Idempotency-Key` asks for: its path, its query and its body, which handlers don't see as they were
//! sent.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use crate::http::extract::IDEMPOTENCY_KEY;
use crate::http::response::{ApiError, Code};

/// What a request asks for, as a text; equal for equal requests.
#[derive(Clone)]
pub struct AskedFor(Arc<str>);

impl AskedFor {
    fn of(uri: &Uri, body: &[u8]) -> Self {
        Self(format!("{uri}\n{}", normal_form(body)).into())
    }

    /// The text. It may contain secrets.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The body with its members in order and without blanks; those that are null are absent, and so may the whole body be. What is
/// not JSON is refused later.
fn normal_form(body: &[u8]) -> String {
    if body.is_empty() {
        return Value::Object(Map::new()).to_string();
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(mut members)) => {
            members.retain(|_, value| !value.is_null());
            let mut body = Value::Object(members);
            body.sort_all_objects();
            body.to_string()
        }
        _ => String::from_utf8_lossy(body).into_owned(),
    }
}

/// The layer. The one around it has read the body, and has limited its size.
pub async fn layer(request: Request, next: Next) -> Response {
    if request.method() != Method::POST || !request.headers().contains_key(IDEMPOTENCY_KEY) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return ApiError::new(Code::MalformedJson, "the body could not be read").into_response();
    };
    parts.extensions.insert(AskedFor::of(&parts.uri, &body));
    next.run(Request::from_parts(parts, Body::from(body))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_form_is_equal_for_equal_bodies_only() {
        for same in [r#"{"a":1,"b":{"c":2,"d":3}}"#, r#" { "b": {"d":3, "c":2}, "n": null, "a": 1 } "#] {
            assert_eq!(normal_form(same.as_bytes()), r#"{"a":1,"b":{"c":2,"d":3}}"#);
        }
        for empty in ["", "{}", r#"{"n":null}"#] {
            assert_eq!(normal_form(empty.as_bytes()), "{}");
        }
        assert_ne!(normal_form(br#"{"a":{"n":null}}"#), normal_form(br#"{"a":{}}"#), "members of members are data");
        assert_eq!(normal_form(b"{"), "{");
    }
}
