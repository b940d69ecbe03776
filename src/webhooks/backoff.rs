//! When a delivery is tried again, and when not any more.

use std::time::Duration;

use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::webhook::DisabledReason;
use dockhost_projections::store::Failing;

use super::sender::Failure;

/// About the wait after the first failure; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// The longest wait when another leader starts.
const LONGEST_WAIT_AT_START: Duration = Duration::from_secs(60);

/// What follows a failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterFailure {
    /// Another attempt, after a wait.
    Retry(Failing),
    /// No attempt any more.
    Disable(DisabledReason),
}

/// What follows an attempt that failed now. `before` is how those before it failed, if they did; `jitter` is a random
/// number from 0 to 1, so that the receivers of one machine that was away are not all tried at once.
#[must_use]
pub fn after_failure(
    before: Option<&Failing>,
    failure: Failure,
    now: Timestamp,
    jitter: f64,
    give_up_after: Duration,
) -> AfterFailure {
    if failure.status() == Some(GONE) {
        return AfterFailure::Disable(DisabledReason::Gone);
    }
    // If nobody tried for long, because no server ran or the account was disabled, that was not the receiver's failure.
    let in_a_row = before.filter(|before| now.since(before.next_attempt) < LONGEST_WAIT);
    let since = in_a_row.map_or(now, |before| before.since);
    if now.since(since) >= give_up_after {
        return AfterFailure::Disable(DisabledReason::Failing);
    }
    let attempts = before.map_or(0, |before| before.attempts).saturating_add(1);
    let next_attempt = now.after(wait(attempts, jitter));
    AfterFailure::Retry(Failing { since, attempts, next_attempt, error: failure.to_string() })
}

/// How a webhook fails when its deliveries start. The next attempt of one that was changed is made at once. When another leader starts,
/// nobody knows whether it was changed meanwhile, so it is tried within a minute; `jitter` is a random number from 0 to 1, so that
/// not all of those that fail are tried at once.
#[must_use]
pub fn at_start(failing: Failing, is_changed: bool, now: Timestamp, jitter: f64) -> Failing {
    let latest = if is_changed { now } else { now.after(LONGEST_WAIT_AT_START.mul_f64(jitter.clamp(0.0, 1.0))) };
    Failing { next_attempt: failing.next_attempt.min(latest), ..failing }
}

/// The status with which a receiver says that it wants no more.
const GONE: u16 = 410;

/// How long to wait after so many failures in a row: between half of the full wait and all of it.
fn wait(failures: u32, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(u32::BITS - 1);
    let full = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
    full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_795_305_600_000).after(Duration::from_secs(seconds))
    }

    fn failed(before: Option<&Failing>, now: Timestamp, jitter: f64) -> AfterFailure {
        after_failure(before, Failure::Status(500), now, jitter, 5 * DAY)
    }

    fn retried(outcome: AfterFailure) -> Failing {
        match outcome {
            AfterFailure::Retry(failing) => failing,
            AfterFailure::Disable(reason) => panic!("{reason:?}"),
        }
    }

    #[test]
    fn waits_double_up_to_an_hour_and_vary_by_half() {
        let waits = |jitter| (1..=40).map(|failures| wait(failures, jitter)).collect::<Vec<_>>();
        let (shortest, longest) = (waits(0.0), waits(1.0));
        assert_eq!(longest[..4], [1, 2, 4, 8].map(Duration::from_secs));
        assert_eq!(shortest[..2], [500, 1000].map(Duration::from_millis));
        assert_eq!((longest[39], shortest[39]), (LONGEST_WAIT, LONGEST_WAIT / 2));
        assert!(longest.windows(2).all(|pair| pair[0] <= pair[1]), "{longest:?}");
    }

    #[test]
    fn failures_in_a_row_count_since_the_first() {
        let first = retried(failed(None, at(10), 1.0));
        assert_eq!((first.since, first.attempts, first.next_attempt), (at(10), 1, at(11)));
        assert_eq!(first.error, "the receiver answered with status 500");
        let second = retried(failed(Some(&first), at(11), 1.0));
        assert_eq!((second.since, second.attempts, second.next_attempt), (at(10), 2, at(13)));
    }

    #[test]
    fn receiver_that_fails_for_days_is_disabled_and_not_earlier() {
        let days = |days: u64| at(days * DAY.as_secs());
        let due = |next_attempt| Failing { next_attempt, ..retried(failed(None, at(0), 0.0)) };
        assert!(matches!(failed(Some(&due(days(4))), days(4), 0.0), AfterFailure::Retry(_)));
        assert_eq!(failed(Some(&due(days(5))), days(5), 0.0), AfterFailure::Disable(DisabledReason::Failing));
    }

    #[test]
    fn receiver_that_nobody_tried_for_days_has_as_long_again() {
        let (before, now) = (retried(failed(None, at(0), 0.0)), at(9 * DAY.as_secs()));
        let failing = retried(failed(Some(&before), now, 0.0));
        assert_eq!((failing.since, failing.attempts), (now, 2));
    }

    #[test]
    fn wait_ends_when_a_webhook_is_changed_and_is_spread_over_a_minute_when_another_leader_starts() {
        let failing = |wait| Failing { next_attempt: at(wait), ..retried(failed(None, at(0), 1.0)) };
        let starts = |wait, is_changed, jitter| at_start(failing(wait), is_changed, at(0), jitter).next_attempt;
        assert_eq!(starts(3600, true, 0.5), at(0));
        assert_eq!([0.0, 0.5, 1.0].map(|jitter| starts(3600, false, jitter)), [at(0), at(30), at(60)]);
        assert_eq!(starts(3, false, 0.5), at(3), "it is due earlier");
    }

    #[test]
    fn receiver_that_is_gone_is_disabled_at_once() {
        let gone = after_failure(None, Failure::Status(410), at(0), 0.0, 5 * DAY);
        assert_eq!(gone, AfterFailure::Disable(DisabledReason::Gone));
    }
}
