//! The figures of the last hour and of the last day, for charts.
//!
//! Every [`STEP`] a task records the text of the metrics. What is kept are the differences between two readings: of the last
//! hour each, of the last day twelve in a row joined to one. So the charts and the metrics have the same figures, and a
//! counter that begins anew loses nothing that was counted before. The memory is fixed: [`BYTES`].

mod interval;
mod reading;
mod ring;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use interval::{Counts, Gauges, Interval};
use reading::Reading;
use ring::Ring;

/// How often the metrics are recorded.
pub const STEP: Duration = Duration::from_secs(10);
/// Steps that are joined to one of the day.
const JOINED: u32 = 12;
/// Intervals of the last hour.
const OF_HOUR: usize = 360;
/// Intervals of the last day, of two minutes each.
const OF_DAY: usize = 720;
/// The memory that all intervals take, in bytes.
pub const BYTES: usize = (OF_HOUR + OF_DAY) * size_of::<Interval>();

/// How far back the figures go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// The last hour.
    Hour,
    /// The last day.
    Day,
}

impl Span {
    /// The length of an interval.
    #[must_use]
    pub const fn step(self) -> Duration {
        match self {
            Self::Hour => STEP,
            Self::Day => STEP.saturating_mul(JOINED),
        }
    }
}

/// The figures of the last hour and of the last day.
#[derive(Debug, Default)]
pub struct Charts(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    last: Option<Reading>,
    hour: Ring<Interval>,
    /// What is being joined to an interval of the day, and how many steps that are.
    joined: Option<(Interval, u32)>,
    day: Ring<Interval>,
}

impl Default for Kept {
    fn default() -> Self {
        Self { last: None, hour: Ring::new(OF_HOUR), joined: None, day: Ring::new(OF_DAY) }
    }
}

impl Charts {
    /// Records the text of the metrics, so long after the start of the server. The first one only begins the counts.
    pub fn record(&self, text: &str, at: Duration) {
        let reading = Reading::of(text, at);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).record(reading);
    }

    /// The intervals that are kept, the oldest first.
    #[must_use]
    pub fn intervals(&self, span: Span) -> Vec<Interval> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = match span {
            Span::Hour => &kept.hour,
            Span::Day => &kept.day,
        };
        ring.iter().copied().collect()
    }
}

impl Kept {
    fn record(&mut self, reading: Reading) {
        let Some(before) = self.last.replace(reading) else { return };
        let interval = reading.since(&before);
        self.hour.push(interval);
        let (joined, steps) = match self.joined.take() {
            Some((joined, steps)) => (joined.join(interval), steps + 1),
            None => (interval, 1),
        };
        if steps == JOINED {
            self.day.push(joined);
        } else {
            self.joined = Some((joined, steps));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::{Metrics, Route};

    fn recorded(readings: &[Reading]) -> Kept {
        let mut kept = Kept::default();
        readings.iter().for_each(|reading| kept.record(*reading));
        kept
    }

    fn creates<'a>(intervals: impl Iterator<Item = &'a Interval>) -> u64 {
        intervals.map(|interval| interval.counts.creates).sum()
    }

    /// Readings of a counter that rises, and in some steps begins anew and ends lower than it was.
    fn readings() -> impl Strategy<Value = (Vec<Reading>, u64)> {
        let steps = proptest::collection::vec((0_u64..1000, prop::bool::weighted(0.1)), 1..1500);
        steps.prop_map(|steps| {
            let (mut counter, mut all, mut readings) = (0, 0, vec![Reading::default()]);
            for (second, (rise, begins_anew)) in (1_u32..).zip(steps) {
                let begins_anew = begins_anew && rise < counter;
                counter = if begins_anew { rise } else { counter + rise };
                all += rise;
                let counts = Counts { creates: counter, ..Counts::default() };
                readings.push(Reading { at: STEP * second, counts, gauges: Gauges::default() });
            }
            (readings, all)
        })
    }

    #[test]
    fn charts_take_the_memory_that_is_documented() {
        assert_eq!(BYTES, 233_280, "docs/OPERATIONS.md and docs/adr/0029 name it");
    }

    #[test]
    fn charts_show_the_figures_of_the_metrics() {
        let (metrics, charts) = (Metrics::default(), Charts::default());
        charts.record(&metrics.text().unwrap(), Duration::ZERO);
        for milliseconds in [2, 20, 20, 200] {
            let route = Route { method: "GET", route: "/api/v2/user/instance/{instanceId}".to_owned() };
            metrics.requests.record(route, 200, Duration::from_millis(milliseconds));
        }
        for kind in ["create", "create", "stop", "delete", "resume"] {
            metrics.log.record_operation(kind);
        }
        metrics.state.set_instances([("running".to_owned(), 3), ("stopped".to_owned(), 9)]);
        metrics.state.set_backends("connected", 2);
        metrics.state.set_backends("degraded", 1);
        metrics.state.set_backends("disconnected", 7);
        metrics.state.set_lag("users", 1, 0.5);
        metrics.state.set_lag("instances", 4, 2.5);
        charts.record(&metrics.text().unwrap(), STEP);
        let [interval] = charts.intervals(Span::Hour)[..] else { panic!("not one interval") };
        assert_eq!((interval.end, interval.length), (STEP, STEP));
        let Counts { creates, stops, deletes, .. } = interval.counts;
        assert_eq!((creates, stops, deletes, interval.counts.requests()), (2, 1, 1, 4));
        let Gauges { running, machines, lag_seconds, .. } = interval.gauges;
        assert_eq!((running, machines, lag_seconds), (Some(3.0), Some(3.0), Some(2.5)));
        let median = interval.counts.duration(0.5).unwrap();
        assert!((median - 0.02).abs() < 1e-9, "{median} is not the middle of the bucket from 10 to 30 ms");
        assert!(charts.intervals(Span::Day).is_empty(), "the first interval of the day is not complete");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn charts_keep_the_last_hour_and_day_whatever_is_recorded((readings, _) in readings()) {
            let (kept, steps) = (recorded(&readings), readings.len() - 1);
            prop_assert_eq!(kept.hour.iter().count(), steps.min(OF_HOUR));
            prop_assert_eq!(kept.day.iter().count(), (steps / usize::try_from(JOINED).unwrap()).min(OF_DAY));
            let ends: Vec<Duration> = kept.hour.iter().map(|interval| interval.end).collect();
            prop_assert!(ends.is_sorted() && ends.last() == readings.last().map(|reading| &reading.at));
            prop_assert!(kept.day.iter().all(|interval| interval.length == Span::Day.step()));
        }

        #[test]
        fn charts_of_the_day_count_what_was_counted_whatever_begins_anew((readings, all) in readings()) {
            let kept = recorded(&readings);
            let open = kept.joined.iter().map(|(interval, _)| interval);
            prop_assert_eq!(creates(kept.day.iter().chain(open)), all);
            if readings.len() <= OF_HOUR {
                prop_assert_eq!(creates(kept.hour.iter()), all);
            }
        }
    }
}
