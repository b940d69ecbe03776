//! Growing pauses between tries.
//!
//! In: the first and the longest pause. Out: each time the double of the last, shortened by up to half at random, so
//! that a thousand agents that lost the same broker don't come back in the same moment.

use std::time::Duration;

use rand::Rng;

/// The pauses of one series of tries.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    upcoming: Duration,
}

impl Backoff {
    /// From `first` on, never longer than `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, upcoming: first }
    }

    /// How long to pause now.
    pub fn pause(&mut self) -> Duration {
        let pause = self.upcoming;
        self.upcoming = (pause * 2).min(self.longest);
        pause.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// The next series begins with the first pause again.
    pub const fn reset(&mut self) {
        self.upcoming = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(300));
        for longest in [100, 200, 300, 300] {
            let pause = backoff.pause();
            assert!((longest / 2..=longest).contains(&pause.as_millis()), "{pause:?} for {longest}");
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
