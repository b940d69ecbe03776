//! How long ago the oldest event was stored that a read model lacks, as far as this replica knows.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Moments that are remembered. If a model lacks events for longer, later ones are joined.
const MAX_MOMENTS: usize = 600;

/// Which events a read model lacks, and since when this replica knows them.
#[derive(Debug, Default)]
pub struct Lag {
    /// Moments, and the last event that was known then, which the model lacks.
    missing: VecDeque<(Instant, u64)>,
}

impl Lag {
    /// Records the last event of the model's kind, and the model's position at this moment.
    pub fn record(&mut self, now: Instant, latest: u64, position: u64) {
        while self.missing.pop_front_if(|(_, sequence)| *sequence <= position).is_some() {}
        let known = self.missing.back().map_or(position, |(_, sequence)| *sequence);
        if latest <= known {
            return;
        }
        if self.missing.len() < MAX_MOMENTS {
            self.missing.push_back((now, latest));
        } else if let Some((_, sequence)) = self.missing.back_mut() {
            // Its events are then thought to be older than they are.
            *sequence = latest;
        }
    }

    /// The age of the oldest event that the model lacks; zero if it lacks none.
    pub fn age(&self, now: Instant) -> Duration {
        self.missing.front().map_or(Duration::ZERO, |(since, _)| now.saturating_duration_since(*since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_the_age_of_the_oldest_missing_event() {
        let (mut lag, start) = (Lag::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut age = |second, latest, position| {
            lag.record(at(second), latest, position);
            lag.age(at(second)).as_secs()
        };
        assert_eq!(age(0, 7, 7), 0, "nothing is missing");
        assert_eq!((age(1, 8, 7), age(5, 9, 7)), (0, 4));
        assert_eq!(age(6, 9, 8), 1, "event 9 came in second 5");
        assert_eq!(age(7, 9, 9), 0);
        assert_eq!((age(100, 10, 9), age(101, 10, 9), age(102, 11, 11)), (0, 1, 0));
    }

    #[test]
    fn lag_of_a_model_that_stands_still_grows_and_stays_bounded() {
        let (mut lag, start) = (Lag::default(), Instant::now());
        let at = |second: u64| start + Duration::from_secs(second);
        for second in 1..=5000 {
            lag.record(at(second), second, 0);
        }
        assert_eq!(lag.age(at(5000)).as_secs(), 4999);
        assert!(lag.missing.len() <= MAX_MOMENTS);
        lag.record(at(5001), 5000, 4999);
        assert!(lag.age(at(5001)).as_secs() > 0);
        lag.record(at(5002), 5000, 5000);
        assert_eq!(lag.age(at(5002)), Duration::ZERO);
    }
}
