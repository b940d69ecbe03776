//! CORS: only the origins of the configured frontends may call with credentials.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::http::app::App;
use crate::http::consistency::{POSITION, STALE};
use crate::http::events::LAST_EVENT_ID;
use crate::http::extract::{IDEMPOTENCY_KEY, origin};
use crate::http::middleware::rate_limit::{RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::http::middleware::request_id::{REQUEST_ID, TRACE_PARENT};

/// How long browsers may cache the answer to a preflight request.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(600);
/// Refused origins that are remembered and logged: anybody can send any number of them.
const MAX_REFUSED: usize = 100;
/// The longest origin that is logged, in bytes.
const MAX_LOGGED: usize = 200;

/// The layer; without a frontend it allows no origin.
pub fn layer(app: &App) -> CorsLayer {
    let (frontends, refused) = (app.settings.frontends.clone(), RefusedOrigins::default());
    let is_allowed = move |origin: &HeaderValue, parts: &Parts| {
        let is_allowed = origin::is_frontend(&parts.headers, &frontends);
        if !is_allowed && !origin::is_own(&parts.uri, &parts.headers, &[]) {
            refused.log(origin);
        }
        is_allowed
    };
    CorsLayer::new()
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            IDEMPOTENCY_KEY,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            HeaderName::from_static("prefer"),
            POSITION,
            REQUEST_ID,
            LAST_EVENT_ID,
            // Libraries for tracing add these to each request.
            TRACE_PARENT,
            HeaderName::from_static("tracestate"),
            HeaderName::from_static("baggage"),
        ])
        .expose_headers([
            header::ETAG,
            header::LOCATION,
            header::LINK,
            header::RETRY_AFTER,
            header::CONTENT_DISPOSITION,
            RATE_LIMIT,
            RATE_LIMIT_POLICY,
            POSITION,
            STALE,
            REQUEST_ID,
        ])
        .max_age(PREFLIGHT_MAX_AGE)
        .allow_origin(AllowOrigin::predicate(is_allowed))
}

/// Origins whose pages were refused. A browser tells the page's user nothing about the reason, so the operator is told.
#[derive(Default)]
struct RefusedOrigins(Mutex<BTreeSet<String>>);

impl RefusedOrigins {
    /// Logs an origin, once.
    fn log(&self, origin: &HeaderValue) {
        let Some(origin) = origin.to_str().ok().filter(|origin| origin.len() <= MAX_LOGGED) else { return };
        if self.is_new(origin) {
            tracing::warn!(
                origin,
                "the pages of an origin are refused by browsers; if it is a frontend of yours, add it to FRONTEND_URL"
            );
        }
    }

    fn is_new(&self, origin: &str) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.len() < MAX_REFUSED && known.insert(origin.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::http::testing::{Answer, DOCUMENT, TestApp};

    const FRONTENDS: [&str; 2] = ["https://app.example.org", "http://localhost:3000"];

    async fn preflight(app: &TestApp, origin: &str) -> Answer {
        let request = app.request(Method::OPTIONS, "/api/v2/user/signin").header("origin", origin);
        request.header("access-control-request-method", "POST").send().await
    }

    async fn app() -> TestApp {
        TestApp::with(|settings| settings.frontends = FRONTENDS.map(str::to_owned).into()).await
    }

    fn list(answer: &Answer, header: &str) -> BTreeSet<String> {
        answer.header(header).unwrap().split(',').map(|name| name.trim().to_lowercase()).collect()
    }

    #[tokio::test]
    async fn cors_allows_each_frontend_and_no_other_origin() {
        let app = app().await;
        for origin in FRONTENDS {
            let answer = preflight(&app, origin).await;
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin), "{answer:?}");
        }
        for origin in
            ["https://app.example.org.evil.example", "http://localhost:3001", "https://localhost:3000", "null"]
        {
            let answer = preflight(&app, origin).await;
            assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}: {answer:?}");
        }
    }

    /// Every header of the document, so that pages can use what programs can.
    #[tokio::test]
    async fn cors_allows_and_exposes_every_header_of_the_document() {
        let app = app().await;
        let allowed = list(&preflight(&app, FRONTENDS[0]).await, "access-control-allow-headers");
        let answer = app.get("/").header("origin", FRONTENDS[0]).send().await;
        let exposed = list(&answer, "access-control-expose-headers");
        let (mut sent, mut received) = (BTreeSet::new(), BTreeSet::new());
        collect(&DOCUMENT, &mut sent, &mut received);
        // Pages can always send the first, and are never shown the second.
        sent.remove("accept");
        received.remove("set-cookie");
        assert!(sent.len() >= 5 && received.len() >= 5, "{sent:?} {received:?}");
        assert!(sent.is_subset(&allowed), "not allowed: {:?}", sent.difference(&allowed));
        assert!(received.is_subset(&exposed), "not exposed: {:?}", received.difference(&exposed));
    }

    /// The names of all header parameters, and of all headers of answers.
    fn collect(value: &Value, sent: &mut BTreeSet<String>, received: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if members.get("in").is_some_and(|place| place == "header") {
                    sent.extend(members["name"].as_str().map(str::to_lowercase));
                }
                if members.contains_key("description")
                    && let Some(Value::Object(headers)) = members.get("headers")
                {
                    received.extend(headers.keys().map(|name| name.to_lowercase()));
                }
                members.values().for_each(|member| collect(member, sent, received));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, sent, received)),
            _ => {}
        }
    }

    #[test]
    fn refused_origins_are_new_once_and_bounded() {
        let refused = RefusedOrigins::default();
        assert!(refused.is_new("https://a.example") && !refused.is_new("https://a.example"));
        let new = (0..1000).filter(|n| refused.is_new(&format!("https://{n}.example"))).count();
        assert_eq!(new, MAX_REFUSED - 1);
    }
}
