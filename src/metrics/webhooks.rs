//! Deliveries of webhooks, which the leader makes.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Deliveries of webhooks, on this server.
#[derive(Debug, Clone, Default)]
pub struct WebhookMetrics {
    deliveries: Family<Outcome, Counter>,
    oldest: Gauge<f64, AtomicU64>,
}

impl WebhookMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Attempts to deliver to webhooks, by what became of them";
        registry.register("webhook_deliveries", help, metrics.deliveries.clone());
        let help = "Seconds that the oldest event waits that a webhook has not taken; 0 on servers that do not lead";
        registry.register("webhook_oldest_undelivered_seconds", help, metrics.oldest.clone());
        metrics
    }

    /// Records an attempt.
    pub fn record_delivery(&self, outcome: &'static str) {
        self.deliveries.get_or_create(&Outcome { outcome }).inc();
    }

    /// For how long the oldest event waits.
    pub fn set_oldest(&self, waits: Duration) {
        self.oldest.set(waits.as_secs_f64());
    }
}
