//! `GET /metrics`: the metrics of this server, on an address of its own (`DOCKHOST_METRICS_ADDRESS`) or, with a token
//! (`DOCKHOST_METRICS_TOKEN`), beside the API. Without either there are none: they tell how busy an installation is. The same text is
//! recorded for the charts of administrators.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use secrecy::{ExposeSecret, SecretString};

use super::app::App;
use super::extract::bearer_of;
use super::queries::health::assess;
use super::response::{ApiError, Code};
use super::views::health::{Health, Part};
use crate::metrics::memory::Memory;
use crate::metrics::{CONTENT_TYPE, StateMetrics, signed};

/// The path.
pub const PATH: &str = "/metrics";
/// Characters that a token must have.
const MIN_TOKEN_LENGTH: usize = 16;

/// What allows to read the metrics beside the API.
#[derive(Debug, Clone)]
pub struct MetricsToken(SecretString);

/// A token is too short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it must have at least {MIN_TOKEN_LENGTH} characters")]
pub struct TooShort;

impl FromStr for MetricsToken {
    type Err = TooShort;

    fn from_str(text: &str) -> Result<Self, TooShort> {
        if text.chars().count() < MIN_TOKEN_LENGTH { Err(TooShort) } else { Ok(Self(text.into())) }
    }
}

impl MetricsToken {
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let expected = self.0.expose_secret().as_bytes();
        bearer_of(headers).is_some_and(|given| verify_slices_are_equal(given.as_bytes(), expected).is_ok())
    }
}

/// The metrics beside the API; for requests with the token.
pub fn beside_api(token: MetricsToken) -> Router<Arc<App>> {
    let guarded = move |State(app): State<Arc<App>>, headers: HeaderMap| {
        let is_allowed = token.is_in(&headers);
        async move {
            if is_allowed {
                answer(&app).await
            } else {
                ApiError::new(Code::Unauthorized, "send the token for metrics as a bearer token").into_response()
            }
        }
    };
    Router::new().route(PATH, get(guarded))
}

/// The metrics on an address of their own; for everyone who reaches it.
pub fn alone(app: &Arc<App>) -> Router {
    let open = |State(app): State<Arc<App>>| async move { answer(&app).await };
    Router::new().route(PATH, get(open)).with_state(Arc::clone(app))
}

/// Records the metrics for the charts, so long after the start of the server.
pub async fn record(app: &App, at: Duration) {
    match text(app).await {
        Ok(text) => app.metrics.charts.record(&text, at),
        Err(error) => tracing::warn!(%error, "the metrics could not be recorded for the charts"),
    }
}

/// The text of the metrics, with what is so at the moment.
async fn text(app: &App) -> Result<String, fmt::Error> {
    let health = assess(app).await;
    observe(app, &health);
    app.metrics.text()
}

async fn answer(app: &App) -> Response {
    match text(app).await {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => ApiError::internal(&error).into_response(),
    }
}

/// Sets what is so at the moment.
fn observe(app: &App, health: &Health) {
    let state: &StateMetrics = &app.metrics.state;
    state.ready.set(health.status.is_ready().into());
    state.uptime.set(signed(health.uptime));
    for part in Part::ALL {
        state.set_down(part.name(), health.down.contains(&part));
    }
    state.quarantined.set(signed(health.quarantined.count as u64));
    state.log_position.set(signed(health.log.position));
    state.log_bytes.set(signed(health.log.bytes.unwrap_or(0)));
    state.log_max_bytes.set(signed(health.log.max_bytes.unwrap_or(0)));
    state.password_queue.set(signed(app.passwords.queued() as u64));
    state.event_streams.set(signed(health.clients.event_streams));
    let fleet = &health.fleet;
    state.set_backends("connected", health.backends.saturating_sub(fleet.degraded));
    state.set_backends("degraded", fleet.degraded);
    state.set_backends("disconnected", fleet.registered.saturating_sub(health.backends));
    state.set_backends("pending", fleet.pending);
    for (&model, projection) in &health.projections {
        state.set_lag(model, projection.lag, app.progress.lag(model).as_secs_f64());
    }
    if let Some(memory) = Memory::read() {
        state.set_memory(memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::TestApp;

    const TOKEN: &str = "a token for metrics";

    async fn app() -> TestApp {
        TestApp::with(|settings| settings.metrics_token = Some(TOKEN.parse().unwrap())).await
    }

    /// The value of a sample.
    async fn value(app: &TestApp, sample: &str) -> Option<f64> {
        let response = app.get(PATH).token(TOKEN).send_raw().await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], CONTENT_TYPE);
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(body.into()).unwrap();
        assert!(text.ends_with("# EOF\n"), "{text}");
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ').map(str::to_owned));
        line.map(|value| value.parse().unwrap())
    }

    #[tokio::test]
    async fn metrics_without_the_token_are_refused_and_off_by_default() {
        let app = app().await;
        for token in [None, Some("another token here"), Some("A TOKEN FOR METRICS")] {
            let request = app.get(PATH);
            let request = if let Some(token) = token { request.token(token) } else { request };
            assert_eq!(request.send().await.error(), (401, "unauthorized"), "{token:?}");
        }
        let off = TestApp::new().await;
        assert_eq!(off.get(PATH).token(TOKEN).send().await.error(), (404, "not_found"));
        assert_eq!("too short".parse::<MetricsToken>().unwrap_err(), TooShort);
    }

    #[tokio::test]
    async fn metrics_count_requests_by_route_and_status() {
        let app = app().await;
        let user = app.user("ada").await;
        for _ in 0..2 {
            app.get("/api/v2/user/instance/no-such-name").token(&user.token).send().await;
        }
        app.get("/api/v2/user/ada@example.org").send().await;
        app.request("PROPFIND".parse().unwrap(), "/api/v2/user/instance").send().await;
        let count = |method: &str, route: &str, status: u16| {
            format!("dockhost_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}")
        };
        for (sample, expected) in [
            (count("GET", "/api/v2/user/instance/{instanceId}", 404), 2.0),
            (count("GET", "none", 404), 1.0),
            (count("other", "/api/v2/user/instance", 405), 1.0),
            (
                "dockhost_http_request_duration_seconds_count{method=\"GET\",route=\"/api/v2/user/instance/{instanceId}\"}"
                    .to_owned(),
                2.0,
            ),
        ] {
            assert_eq!(value(&app, &sample).await, Some(expected), "{sample}");
        }
    }

    #[tokio::test]
    async fn metrics_show_backends_and_what_is_stored() {
        let app = app().await;
        app.connected_backend("lab-1", 5).await;
        app.backend("lab-2", 5).await;
        app.pending_backend("lab-3").await;
        let user = app.user("ada").await;
        app.running_instance(&user, "web").await;
        for (sample, expected) in [
            ("dockhost_ready", 1.0),
            ("dockhost_down{part=\"database\"}", 0.0),
            ("dockhost_backends{state=\"connected\"}", 1.0),
            ("dockhost_backends{state=\"disconnected\"}", 1.0),
            ("dockhost_backends{state=\"pending\"}", 1.0),
            ("dockhost_quarantined_aggregates", 0.0),
            ("dockhost_projection_lag_events{model=\"instances\"}", 0.0),
            ("dockhost_instance_events_total{event=\"requested\"}", 1.0),
            ("dockhost_log_events_total{kind=\"backend\"}", 4.0),
        ] {
            assert_eq!(value(&app, sample).await, Some(expected), "{sample}");
        }
        assert!(value(&app, "dockhost_log_appends_total{outcome=\"stored\"}").await > Some(4.0));
        assert!(value(&app, "dockhost_memory_resident_bytes").await > Some(1_000_000.0));
        app.store.set_unavailable(true);
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(value(&app, "dockhost_down{part=\"database\"}").await, Some(1.0));
        assert_eq!(value(&app, "dockhost_ready").await, Some(0.0));
    }

    #[tokio::test]
    async fn metrics_count_event_streams_while_they_are_open() {
        let app = app().await;
        let user = app.user("ada").await;
        let streams = async || value(&app, "dockhost_event_streams").await;
        let mut open = Vec::new();
        for _ in 0..2 {
            open.push(app.get("/api/v2/user/events").token(&user.token).send_raw().await);
        }
        assert_eq!(streams().await, Some(2.0));
        drop(open);
        app.eventually("no stream is open", async || streams().await == Some(0.0)).await;
    }

    /// Neither names nor ids, whatever happens.
    #[tokio::test]
    async fn metrics_name_nobody() {
        let app = app().await;
        let backend = app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        let instance = app.running_instance(&user, "web-of-ada").await;
        for path in ["/api/v2/user/instance/web-of-ada", "/api/v2/user/ada", "/ada@example.org"] {
            app.get(path).token(&user.token).send().await;
        }
        value(&app, "dockhost_ready").await;
        let text = app.app.metrics.text().unwrap();
        for word in ["ada", "lab-1", &user.id.to_string(), &backend.id.to_string(), &instance.to_string()] {
            assert!(!text.contains(word), "{word} is in {text}");
        }
    }
}
