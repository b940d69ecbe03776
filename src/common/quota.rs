//! The arithmetic of a limit: the generic cell rate algorithm. Pure; time is a duration since any fixed moment.
//!
//! A bucket holds `count` requests and refills evenly, over `window` from empty to full. Its state is one number: the time
//! at which it will be full again.

use std::time::Duration;

/// At most `count` requests at once, and `count` per `window` in the long run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Requests; at least 1.
    pub count: u32,
    /// The time in which an empty bucket refills.
    pub window: Duration,
}

/// The answer to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The time until the request would be admitted; none if it is.
    pub retry_after: Option<Duration>,
    /// Requests that would be admitted at once after this one.
    pub remaining: u32,
    /// The time until the bucket is full, if no more requests come.
    pub full_after: Duration,
}

impl Quota {
    /// The time in which one request is refilled.
    fn interval(self) -> Duration {
        self.window / self.count.max(1)
    }

    /// Takes one request out of a bucket that is full at `full_at`; returns when it is full after that.
    pub fn take(self, full_at: Duration, now: Duration) -> (Duration, Decision) {
        let before = full_at.max(now);
        let after = before + self.interval();
        let empty = now + self.window;
        // Divisions round down, so the sum of all intervals can be a little less than the window, never more.
        if after > empty {
            let decision = Decision { retry_after: Some(after - empty), remaining: 0, full_after: before - now };
            return (before, decision);
        }
        let remaining = (empty - after).as_nanos() / self.interval().as_nanos().max(1);
        let remaining = u32::try_from(remaining).unwrap_or(u32::MAX).min(self.count - 1);
        (after, Decision { retry_after: None, remaining, full_after: after - now })
    }

    /// Takes so many requests without asking whether the bucket has them; it never owes more than it holds.
    pub fn charge(self, full_at: Duration, requests: u32, now: Duration) -> Duration {
        (full_at.max(now) + self.interval() * requests).min(now + self.window)
    }
}

/// Whole seconds of a wait, rounded up, so that waiting this long is enough.
pub fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn take_admits_count_at_once_then_one_per_interval() {
        let quota = Quota { count: 3, window: 60 * SECOND };
        let mut full_at = Duration::ZERO;
        for remaining in [2, 1, 0] {
            let (after, decision) = quota.take(full_at, SECOND);
            assert_eq!((decision.retry_after, decision.remaining), (None, remaining));
            full_at = after;
        }
        assert_eq!(quota.take(full_at, SECOND).1.retry_after, Some(20 * SECOND));
        assert_eq!(quota.take(full_at, 11 * SECOND).1.retry_after, Some(10 * SECOND));
        assert_eq!(quota.take(full_at, 21 * SECOND).1.retry_after, None);
        assert_eq!(quota.take(full_at, 21 * SECOND).1.full_after, 60 * SECOND);
    }

    #[test]
    fn charge_counts_but_never_owes() {
        let quota = Quota { count: 2, window: 10 * SECOND };
        let mut full_at = Duration::ZERO;
        for _ in 0..100 {
            full_at = quota.charge(full_at, 1, SECOND);
        }
        assert_eq!(quota.take(full_at, SECOND).1.retry_after, Some(5 * SECOND));
    }

    proptest! {
        #[test]
        fn take_by_a_client_that_obeys_is_never_refused_twice(
            count in 1_u32..200,
            window in 1_u64..100_000,
            pauses in proptest::collection::vec(0_u64..20_000, 1..100),
        ) {
            let quota = Quota { count, window: Duration::from_millis(window) };
            let (mut full_at, mut now) = (Duration::ZERO, Duration::ZERO);
            for pause in pauses {
                now += Duration::from_millis(pause);
                let (after, decision) = quota.take(full_at, now);
                full_at = after;
                let Some(retry_after) = decision.retry_after else { continue };
                now += Duration::from_secs(whole_seconds(retry_after));
                let (after, decision) = quota.take(full_at, now);
                prop_assert_eq!(decision.retry_after, None);
                full_at = after;
            }
        }

        #[test]
        fn take_admits_at_most_twice_the_count_in_any_window(
            count in 1_u32..20,
            pauses in proptest::collection::vec(0_u64..500, 1..200),
        ) {
            let quota = Quota { count, window: SECOND };
            let (mut full_at, mut now, mut admitted) = (Duration::ZERO, Duration::ZERO, Vec::new());
            for pause in pauses {
                now += Duration::from_millis(pause);
                let (after, decision) = quota.take(full_at, now);
                full_at = after;
                if decision.retry_after.is_none() {
                    admitted.push(now);
                }
            }
            for start in &admitted {
                let within = admitted.iter().filter(|at| (*start..*start + SECOND).contains(*at)).count();
                prop_assert!(within <= 2 * count as usize, "{within} of {count}");
            }
        }
    }
}
