//! How many sign-ins were refused lately, over all replicas: each stores its counts in the log once a minute.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dockhost_domain::refusal::{RefusalKind, RefusalsCounted};
use dockhost_domain::timestamp::Timestamp;

/// The time that counts as lately.
const LATELY: Duration = Duration::from_secs(10 * 60);
/// The time before that, with which it is compared.
const BEFORE: Duration = Duration::from_secs(60 * 60);
/// So few refusals are mistyped passwords, even if there were none before.
const MIN_RISING: u64 = 20;
/// Counts that are kept, each of a minute of one replica.
const MAX_COUNTS: usize = 4096;

/// The refused sign-ins of the last 70 minutes, in the order of the log.
#[derive(Debug, Default)]
pub struct RefusalTrend(Mutex<VecDeque<(Timestamp, u64)>>);

/// Refused sign-ins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefusedSignIns {
    /// In the last 10 minutes.
    pub lately: u64,
    /// In the hour before that.
    pub before: u64,
}

impl RefusedSignIns {
    /// Whether there are many more than before: at least 20 in 10 minutes, and more than twice the average of the hour before.
    #[must_use]
    pub const fn is_rising(self) -> bool {
        self.lately >= MIN_RISING && self.lately.saturating_mul(3) > self.before
    }
}

impl RefusalTrend {
    /// Takes in what a replica counted.
    pub fn observe(&self, counted: &RefusalsCounted) {
        let named = counted.counts.iter().map(|one| (one.kind, one.count));
        let others = counted.others.iter().map(|others| (others.kind, others.count));
        let sign_ins = named.chain(others).filter(|(kind, _)| *kind == RefusalKind::SignIn);
        let count = sign_ins.fold(0, |sum: u64, (_, count)| sum.saturating_add(count));
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.push_back((counted.until, count));
        let oldest = counted.until.before(LATELY + BEFORE);
        while counts.front().is_some_and(|(until, _)| *until < oldest) || counts.len() > MAX_COUNTS {
            counts.pop_front();
        }
    }

    /// The refused sign-ins at this time.
    pub fn at(&self, now: Timestamp) -> RefusedSignIns {
        let (lately, before) = (now.before(LATELY), now.before(LATELY + BEFORE));
        let mut refused = RefusedSignIns::default();
        for (until, count) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let sum = match *until {
                until if until >= lately => &mut refused.lately,
                until if until >= before => &mut refused.before,
                _ => continue,
            };
            *sum = sum.saturating_add(*count);
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use dockhost_domain::ids::UserId;
    use dockhost_domain::refusal::{OtherRefusals, RefusalCount, RefusalSource};
    use uuid::Uuid;

    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_millis(1_600_000_000_000 + minute * 60_000)
    }

    fn counted(minute: i64, sign_ins: u64) -> RefusalsCounted {
        let source = RefusalSource::User(UserId::from_uuid(Uuid::from_u128(1)));
        let others = OtherRefusals { kind: RefusalKind::SignIn, count: sign_ins - 1 };
        let counts = [(RefusalKind::SignIn, 1), (RefusalKind::Forbidden, 1000)];
        RefusalsCounted {
            from: at(minute - 1),
            until: at(minute),
            counts: counts.map(|(kind, count)| RefusalCount { source, kind, count }).into(),
            others: vec![others],
        }
    }

    #[test]
    fn trend_has_the_sign_ins_of_the_last_minutes_and_of_the_hour_before() {
        let trend = RefusalTrend::default();
        for (minute, count) in [(1, 50), (20, 7), (65, 2), (75, 9)] {
            trend.observe(&counted(minute, count));
        }
        assert_eq!(trend.at(at(75)), RefusedSignIns { lately: 11, before: 7 });
        assert_eq!(trend.at(at(80)), RefusedSignIns { lately: 9, before: 9 });
        assert_eq!(trend.at(at(1000)), RefusedSignIns::default());
    }

    #[test]
    fn trend_keeps_a_bounded_number_of_counts() {
        let trend = RefusalTrend::default();
        for _ in 0..2 * MAX_COUNTS {
            trend.observe(&counted(1, 1));
        }
        assert_eq!(trend.0.lock().unwrap().len(), MAX_COUNTS);
        trend.observe(&counted(100, 1));
        assert_eq!(trend.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn refused_sign_ins_rise_when_there_are_many_and_twice_as_many_as_before() {
        let is_rising = |lately, before| RefusedSignIns { lately, before }.is_rising();
        assert!(!is_rising(19, 0) && is_rising(20, 0));
        assert!(is_rising(100, 299) && !is_rising(100, 300));
    }
}
