//! Event time: within an aggregate it does not go back, also if the clocks of two replicas differ.

use dockhost_domain::timestamp::Timestamp;

use crate::broker::clock_check::MAX_DEVIATION_MILLIS;

/// The time of an event that is decided at `now`, after an event of the same aggregate with the time `last`.
///
/// It is not before `last`, unless that is further ahead than the clock of any replica that is ready: then `last` was written
/// with a wrong clock, and following it would let everything expire that expires by event time.
pub fn event_time(now: Timestamp, last: Option<Timestamp>) -> Timestamp {
    let is_followed = |last: &Timestamp| last.millis().saturating_sub(now.millis()) <= MAX_DEVIATION_MILLIS;
    last.filter(is_followed).map_or(now, |last| last.max(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_time_is_the_later_one_unless_the_last_is_impossible() {
        let at = Timestamp::from_millis;
        let now = 1_000_000;
        for (last, expected) in [
            (None, now),
            (Some(now - 1), now),
            (Some(now + 1), now + 1),
            (Some(now + MAX_DEVIATION_MILLIS), now + MAX_DEVIATION_MILLIS),
            (Some(now + MAX_DEVIATION_MILLIS + 1), now),
        ] {
            assert_eq!(event_time(at(now), last.map(at)), at(expected), "{last:?}");
        }
    }
}
