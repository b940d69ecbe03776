//! Appends to the log, what happens to instances by them, and what this server reads in the log.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The upper bounds of the durations in seconds. An append is given up after some seconds.
const SECONDS: [f64; 11] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InstanceEvent {
    event: &'static str,
}

/// Appends to the log by this server, and operations in the log, whichever server stored them.
#[derive(Debug, Clone)]
pub struct LogMetrics {
    durations: Histogram,
    outcomes: Family<Outcome, Counter>,
    events: Family<Kind, Counter>,
    instance_events: Family<InstanceEvent, Counter>,
    operations: Family<Kind, Counter>,
}

impl LogMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            durations: Histogram::new(SECONDS),
            outcomes: Family::default(),
            events: Family::default(),
            instance_events: Family::default(),
            operations: Family::default(),
        };
        let help = "Seconds that the broker took to acknowledge an append to the event log";
        registry.register("log_append_duration_seconds", help, metrics.durations.clone());
        let help = "Appends by outcome; a conflict is decided again";
        registry.register("log_appends", help, metrics.outcomes.clone());
        registry.register("log_events", "Events that this server stored, by kind of aggregate", metrics.events.clone());
        let help = "What this server stored about instances";
        registry.register("instance_events", help, metrics.instance_events.clone());
        let help = "Operations on instances that this server read in the event log, whichever server stored them";
        registry.register("instance_operations", help, metrics.operations.clone());
        metrics
    }

    /// Records an append with this outcome.
    pub fn record_append(&self, outcome: &'static str, duration: Duration) {
        self.outcomes.get_or_create(&Outcome { outcome }).inc();
        self.durations.observe(duration.as_secs_f64());
    }

    /// Records a stored event of this kind of aggregate, and what it says about an instance, if it does.
    pub fn record_event(&self, kind: &'static str, instance_event: Option<&'static str>) {
        self.events.get_or_create(&Kind { kind }).inc();
        if let Some(event) = instance_event {
            self.instance_events.get_or_create(&InstanceEvent { event }).inc();
        }
    }

    /// Records that an operation of this kind is in the log, once for each.
    pub fn record_operation(&self, kind: &'static str) {
        self.operations.get_or_create(&Kind { kind }).inc();
    }
}
