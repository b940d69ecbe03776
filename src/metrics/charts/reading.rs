//! Reads the figures of the charts in the text of the metrics. Pure.
//!
//! The text, because the library does not tell what is in a histogram or in a family; and what is read there is what
//! Prometheus reads.

use std::time::Duration;

use super::interval::{BUCKETS, Counts, Gauges, Interval};
use crate::metrics::requests;

/// The figures in the metrics at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Reading {
    /// How long after the start of the server.
    pub at: Duration,
    /// Since then.
    pub counts: Counts,
    /// At this moment.
    pub gauges: Gauges,
}

/// A line of the text.
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: &'a str,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        Some(Self { name, labels, value })
    }

    /// The value of a label. None that is asked for has a quotation mark in its value.
    fn label(&self, name: &str) -> Option<&'a str> {
        let pairs = self.labels.trim_end_matches(['"', '}']).split("\",");
        pairs.filter_map(|pair| pair.split_once("=\"")).find(|(label, _)| *label == name).map(|(_, value)| value)
    }

    fn count(&self) -> u64 {
        self.value.parse().unwrap_or(0)
    }

    fn number(&self) -> Option<f64> {
        self.value.parse().ok()
    }
}

impl Reading {
    pub(super) fn of(text: &str, at: Duration) -> Self {
        let mut reading = Self { at, ..Self::default() };
        text.lines().filter_map(Sample::parse).for_each(|sample| reading.add(&sample));
        reading
    }

    fn add(&mut self, sample: &Sample<'_>) {
        let Self { counts, gauges, .. } = self;
        match sample.name {
            "dockhost_http_request_duration_seconds_bucket" => {
                if let Some(bucket) = sample.label("le").and_then(bucket) {
                    counts.buckets[bucket] += sample.count();
                }
            }
            "dockhost_instance_operations_total" => match sample.label("kind") {
                Some("create") => counts.creates = sample.count(),
                Some("stop") => counts.stops = sample.count(),
                Some("delete") => counts.deletes = sample.count(),
                _ => {}
            },
            "dockhost_instances" if sample.label("status") == Some("running") => gauges.running = sample.number(),
            "dockhost_backends" if matches!(sample.label("state"), Some("connected" | "degraded")) => {
                gauges.machines = sum(gauges.machines, sample.number());
            }
            "dockhost_projection_lag_seconds" => {
                gauges.lag_seconds = sample.number().map(|lag| lag.max(gauges.lag_seconds.unwrap_or(0.0)));
            }
            "dockhost_memory_resident_bytes" => gauges.memory_bytes = sample.number(),
            _ => {}
        }
    }

    /// What happened since an earlier reading.
    pub(super) fn since(&self, earlier: &Self) -> Interval {
        Interval {
            end: self.at,
            length: self.at.saturating_sub(earlier.at),
            counts: self.counts.since(&earlier.counts),
            gauges: self.gauges,
        }
    }
}

/// The number of the bucket with this upper bound; the last one has none.
fn bucket(bound: &str) -> Option<usize> {
    let bound: f64 = bound.parse().ok()?;
    let bucket = requests::SECONDS.partition_point(|known| *known < bound);
    (bucket < BUCKETS).then_some(bucket)
}

fn sum(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one.unwrap_or(0.0) + other?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_of_a_text_without_samples_knows_nothing() {
        let text = "# HELP dockhost_instances Instances.\n# TYPE dockhost_instances gauge\n# EOF\n";
        let reading = Reading::of(text, Duration::from_secs(3));
        assert_eq!(reading, Reading { at: Duration::from_secs(3), ..Reading::default() });
    }

    #[test]
    fn reading_adds_the_buckets_of_all_routes() {
        let text = r#"
dockhost_http_request_duration_seconds_bucket{le="0.001",method="GET",route="/a/{id}"} 2
dockhost_http_request_duration_seconds_bucket{le="60.0",method="GET",route="/a/{id}"} 5
dockhost_http_request_duration_seconds_bucket{le="+Inf",method="GET",route="/a/{id}"} 6
dockhost_http_request_duration_seconds_bucket{method="PUT",route="/b",le="+Inf"} 4
dockhost_http_request_duration_seconds_count{method="PUT",route="/b"} 4
"#;
        let counts = Reading::of(text, Duration::ZERO).counts;
        assert_eq!((counts.buckets[0], counts.buckets[BUCKETS - 2], counts.requests()), (2, 5, 10));
    }

    #[test]
    fn bucket_of_each_bound_is_its_own() {
        let bounds = requests::SECONDS.map(|bound| bucket(&bound.to_string()));
        assert_eq!(bounds.to_vec(), (0..BUCKETS - 1).map(Some).collect::<Vec<_>>());
        assert_eq!((bucket("+Inf"), bucket("much")), (Some(BUCKETS - 1), None));
    }
}
