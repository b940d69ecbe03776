//! Refuses requests beyond the caller's limit with 429, and tells every caller how much is left.
//!
//! The headers are those of the IETF's draft "RateLimit header fields for HTTP".

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::common::quota::{Decision, Quota, whole_seconds};
use crate::http::app::App;
use crate::http::extract::{ClientAddress, principal};
use crate::http::limits::Caller;
use crate::http::limits::policy::Endpoint;
use crate::http::response::{ApiError, Code};

/// What is left: `"signin";r=99;t=60`: requests, and seconds until all are available again.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The limit: `"signin";q=100;w=60`: requests, and the seconds in which they become available again.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The layer.
pub async fn layer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let Some(endpoint) = Endpoint::of(request.method(), route) else { return next.run(request).await };
    let Some((quota, decision)) = app.limits.take(endpoint, caller(&app, endpoint, &request)) else {
        return next.run(request).await;
    };
    let mut response = match decision.retry_after {
        None => next.run(request).await,
        Some(wait) => {
            let message = "too many requests; wait as long as Retry-After says";
            ApiError::new(Code::RateLimited, message).retry_after(wait).into_response()
        }
    };
    for (name, value) in headers(endpoint, quota, decision) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Who has to have a token for it is counted by account, if the token is genuine.
fn caller(app: &App, endpoint: Endpoint, request: &Request) -> Caller {
    let principal = if endpoint.is_shared() { None } else { principal(app, request.headers()) };
    principal.map_or_else(
        || {
            let trusted = &app.settings.trusted_proxies;
            Caller::Address(ClientAddress::of_request(request.extensions(), request.headers(), trusted))
        },
        Caller::Principal,
    )
}

fn headers(endpoint: Endpoint, quota: Quota, decision: Decision) -> [(HeaderName, String); 2] {
    let name = endpoint.name();
    let (remaining, reset) = (decision.remaining, whole_seconds(decision.full_after));
    [
        (RATE_LIMIT_POLICY, format!("\"{name}\";q={};w={}", quota.count, quota.window.as_secs())),
        (RATE_LIMIT, format!("\"{name}\";r={remaining};t={reset}")),
    ]
}
