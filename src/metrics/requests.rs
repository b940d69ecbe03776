//! Requests to the API, by route.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The upper bounds of the durations in seconds: commands wait up to 60 s.
pub(super) const SECONDS: [f64; 11] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0];

/// A route. The labels are bounded: a path that is no route counts as one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Route {
    /// The method; `other` for one that no route has.
    pub method: &'static str,
    /// The path of the route, with placeholders; `none` for a path that is no route.
    pub route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: u16,
}

/// Requests to the API.
#[derive(Debug)]
pub struct RequestMetrics {
    answered: Family<Answered, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
}

impl RequestMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics =
            Self { answered: Family::default(), durations: Family::new_with_constructor(|| Histogram::new(SECONDS)) };
        registry.register("http_requests", "Requests that were answered", metrics.answered.clone());
        let help = "Seconds from a request's headers to those of its answer";
        registry.register("http_request_duration_seconds", help, metrics.durations.clone());
        metrics
    }

    /// Records an answer.
    pub fn record(&self, route: Route, status: u16, duration: Duration) {
        self.durations.get_or_create(&route).observe(duration.as_secs_f64());
        let Route { method, route } = route;
        self.answered.get_or_create(&Answered { method, route, status }).inc();
    }
}
