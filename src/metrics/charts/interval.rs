//! What happened between two readings of the metrics, and what was so at the end. Pure.

use std::array;
use std::time::Duration;

use crate::metrics::requests;

/// Buckets of durations: one up to each bound of the histogram, and one beyond.
pub(super) const BUCKETS: usize = requests::SECONDS.len() + 1;

/// What is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Operations that create an instance.
    pub creates: u64,
    /// Operations that stop one.
    pub stops: u64,
    /// Operations that delete one.
    pub deletes: u64,
    /// Requests that took at most as long as each bound of the histogram; the last number is that of all.
    pub(super) buckets: [u64; BUCKETS],
}

impl Counts {
    /// By how much these counters are higher than earlier ones. A counter that is lower began anew from 0 in between.
    #[must_use]
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let rise = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        // The buckets begin anew together.
        let began_anew = self.requests() < earlier.requests();
        let buckets = array::from_fn(|bucket| {
            if began_anew { self.buckets[bucket] } else { rise(self.buckets[bucket], earlier.buckets[bucket]) }
        });
        Self {
            creates: rise(self.creates, earlier.creates),
            stops: rise(self.stops, earlier.stops),
            deletes: rise(self.deletes, earlier.deletes),
            buckets,
        }
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            creates: self.creates + other.creates,
            stops: self.stops + other.stops,
            deletes: self.deletes + other.deletes,
            buckets: array::from_fn(|bucket| self.buckets[bucket] + other.buckets[bucket]),
        }
    }

    /// Requests that were answered.
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.buckets[BUCKETS - 1]
    }

    /// The duration within which this share of the requests was answered, in seconds; none without a request. It is
    /// estimated as by `histogram_quantile` of Prometheus: the durations within a bucket count as spread evenly, and those
    /// beyond the last bound count as that bound.
    #[must_use]
    pub fn duration(&self, share: f64) -> Option<f64> {
        if self.requests() == 0 {
            return None;
        }
        let rank = share * number(self.requests());
        let bucket = self.buckets.iter().position(|count| number(*count) >= rank)?;
        let Some(upper) = requests::SECONDS.get(bucket) else { return requests::SECONDS.last().copied() };
        let (lower, below) = match bucket.checked_sub(1) {
            Some(before) => (requests::SECONDS[before], self.buckets[before]),
            None => (0.0, 0),
        };
        let within = number(self.buckets[bucket].saturating_sub(below).max(1));
        Some(lower + (upper - lower) * ((rank - number(below)) / within).clamp(0.0, 1.0))
    }
}

/// What is so at a moment. What is not known is none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Gauges {
    /// Instances that run.
    pub running: Option<f64>,
    /// Machines that send heartbeats.
    pub machines: Option<f64>,
    /// The age of the oldest event that a read model lacks, in seconds.
    pub lag_seconds: Option<f64>,
    /// The memory of this process, in bytes.
    pub memory_bytes: Option<f64>,
}

impl Gauges {
    /// Of two moments, what somebody should see: the later number of instances, the fewest machines, the longest lag, the most
    /// memory. So a short fault does not vanish from the day.
    #[must_use]
    fn join(&self, later: &Self) -> Self {
        let of_both = |choose: fn(f64, f64) -> f64, one: Option<f64>, other: Option<f64>| match (one, other) {
            (Some(one), Some(other)) => Some(choose(one, other)),
            (one, other) => one.or(other),
        };
        Self {
            running: later.running.or(self.running),
            machines: of_both(f64::min, self.machines, later.machines),
            lag_seconds: of_both(f64::max, self.lag_seconds, later.lag_seconds),
            memory_bytes: of_both(f64::max, self.memory_bytes, later.memory_bytes),
        }
    }
}

/// What happened between two readings, and what was so at the end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// How long after the start of the server it ended.
    pub end: Duration,
    /// How long it was.
    pub length: Duration,
    /// What was counted in it.
    pub counts: Counts,
    /// What was so at its end.
    pub gauges: Gauges,
}

impl Interval {
    /// This interval and the next one as one.
    #[must_use]
    pub(super) fn join(&self, next: Self) -> Self {
        Self {
            end: next.end,
            length: self.length + next.length,
            counts: self.counts.plus(&next.counts),
            gauges: self.gauges.join(&next.gauges),
        }
    }

    /// How often per second something happened that was counted so many times.
    #[must_use]
    pub fn per_second(&self, count: u64) -> f64 {
        if self.length.is_zero() { 0.0 } else { number(count) / self.length.as_secs_f64() }
    }
}

/// Exact up to 2⁵³, which no counter reaches.
#[expect(clippy::cast_precision_loss, reason = "see above")]
const fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Counts of requests with these numbers in the buckets.
    fn requests(numbers: [u16; BUCKETS]) -> Counts {
        let mut all = 0;
        let buckets = numbers.map(|number| {
            all += u64::from(number);
            all
        });
        Counts { buckets, ..Counts::default() }
    }

    fn interval(seconds: u64, machines: Option<f64>, lag: f64, running: Option<f64>) -> Interval {
        let length = Duration::from_secs(seconds);
        let counts = Counts { creates: seconds, ..requests([1; BUCKETS]) };
        let gauges = Gauges { running, machines, lag_seconds: Some(lag), memory_bytes: None };
        Interval { end: length, length, counts, gauges }
    }

    #[test]
    fn interval_joined_has_the_sums_and_what_somebody_should_see() {
        let joined = interval(10, Some(3.0), 7.5, Some(4.0)).join(interval(20, Some(5.0), 0.0, None));
        assert_eq!((joined.end.as_secs(), joined.length.as_secs()), (20, 30));
        assert_eq!((joined.counts.creates, joined.counts.requests()), (30, 24));
        let expected = Gauges { running: Some(4.0), machines: Some(3.0), lag_seconds: Some(7.5), memory_bytes: None };
        assert_eq!(joined.gauges, expected);
        assert!((joined.per_second(30) - 1.0).abs() < f64::EPSILON);
        assert!(Interval { length: Duration::ZERO, ..joined }.per_second(5).abs() < f64::EPSILON);
    }

    #[test]
    fn duration_is_estimated_within_its_bucket() {
        let mut numbers = [0; BUCKETS];
        assert_eq!(requests(numbers).duration(0.5), None);
        // Four requests up to 1 ms, four between 10 and 30 ms, two beyond a minute.
        (numbers[0], numbers[3], numbers[BUCKETS - 1]) = (4, 4, 2);
        let counts = requests(numbers);
        let found = [0.1, 0.4, 0.5, 0.8, 0.99].map(|share| counts.duration(share).unwrap());
        for (found, expected) in found.into_iter().zip([0.000_25, 0.001, 0.015, 0.03, 60.0]) {
            assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
        }
    }

    proptest! {
        #[test]
        fn duration_rises_with_the_share_and_is_within_the_bounds(
            numbers in any::<[u16; BUCKETS]>(),
            share in 0.0_f64..0.5,
            more in 0.0_f64..0.5,
        ) {
            let counts = requests(numbers);
            let (less, more) = (counts.duration(share), counts.duration(share + more));
            prop_assert_eq!(less.is_some(), counts.requests() > 0);
            if let (Some(less), Some(more)) = (less, more) {
                prop_assert!(0.0 <= less && less <= more && more <= 60.0, "{less} and {more}");
            }
        }

        #[test]
        fn counts_since_earlier_ones_are_what_was_added(
            before in any::<[u16; BUCKETS]>(),
            added in any::<[u16; BUCKETS]>(),
            creates in any::<[u16; 2]>(),
        ) {
            let [first, then] = creates.map(u64::from);
            let earlier = Counts { creates: first, ..requests(before) };
            let more = Counts { creates: then, ..requests(added) };
            prop_assert_eq!(earlier.plus(&more).since(&earlier), more);
            let lower = more.requests() < earlier.requests();
            prop_assert!(!lower || more.since(&earlier).buckets == more.buckets, "it began anew");
        }
    }
}
