//! The delay after failed sign-ins. Pure.
//!
//! Failures count by name and address, so that nobody can lock another person out from somewhere else; how many names one
//! address may try is the limit of the endpoint.

use std::time::Duration;

/// So many may fail without a delay: people mistype.
const FREE: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(60);

/// The failed sign-ins with one name from one address since the last that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failures {
    count: u32,
    /// Until then every attempt is refused.
    until: Duration,
}

impl Failures {
    /// With one more.
    pub fn and_one(self, now: Duration) -> Self {
        let count = self.count.saturating_add(1);
        let delay = match count.checked_sub(FREE) {
            None => Duration::ZERO,
            Some(beyond) => FIRST_DELAY.saturating_mul(1 << beyond.min(10)).min(MAX_DELAY),
        };
        Self { count, until: now + delay }
    }

    /// How long the next attempt must wait.
    pub fn delay(self, now: Duration) -> Option<Duration> {
        self.until.checked_sub(now).filter(|delay| !delay.is_zero())
    }

    /// How many there are.
    pub const fn count(self) -> u32 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_begins_after_some_failures_doubles_and_is_bounded() {
        let mut failures = Failures::default();
        let delays: Vec<u64> = (0..14)
            .map(|_| {
                failures = failures.and_one(Duration::ZERO);
                failures.delay(Duration::ZERO).map_or(0, |delay| delay.as_secs())
            })
            .collect();
        assert_eq!(delays, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert_eq!(failures.delay(MAX_DELAY), None);
    }
}
