//! The leader's roles.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The upper bounds of how late timers are, in seconds.
const SECONDS: [f64; 8] = [0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Role {
    role: &'static str,
}

/// The leader's roles, on this server.
#[derive(Debug, Clone)]
pub struct LeaderMetrics {
    restarts: Family<Role, Counter>,
    lateness: Histogram,
}

impl LeaderMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { restarts: Family::default(), lateness: Histogram::new(SECONDS) };
        let help = "Times that a role of the leader failed and was run again";
        registry.register("role_restarts", help, metrics.restarts.clone());
        let help = "Seconds after its deadline that an instance's timer was handled";
        registry.register("timer_lateness_seconds", help, metrics.lateness.clone());
        metrics
    }

    /// Records that a role failed and is run again.
    pub fn record_restart(&self, role: &'static str) {
        self.restarts.get_or_create(&Role { role }).inc();
    }

    /// Records that a timer was handled so long after its deadline.
    pub fn record_timer(&self, late: Duration) {
        self.lateness.observe(late.as_secs_f64());
    }
}
