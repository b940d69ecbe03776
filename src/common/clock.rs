//! The only module that reads the clock and generates ids; all other code gets them as arguments.
//!
//! The machine's clock may be wrong. `broker::clock_check` compares it with the broker's and corrects what [`now`] returns, so
//! that all replicas have about the same time.

use std::sync::atomic::{AtomicI64, Ordering};

use dockhost_domain::timestamp::Timestamp;
use time::OffsetDateTime;
use uuid::Uuid;

/// What [`now`] adds to the machine's clock, in milliseconds.
static CORRECTION: AtomicI64 = AtomicI64::new(0);
/// How far the machine's clock is ahead of the broker's, in milliseconds.
static DEVIATION: AtomicI64 = AtomicI64::new(0);

/// The current time, corrected, with the precision of event times (milliseconds).
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_millis(machine_millis().saturating_add(CORRECTION.load(Ordering::Relaxed)))
}

/// The time of the machine's own clock, in milliseconds since 1970.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the clock adapter")]
pub fn machine_millis() -> i64 {
    i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// Sets how far the machine's clock is ahead of the broker's, and what [`now`] adds to it, in milliseconds.
pub fn correct(deviation: i64, correction: i64) {
    DEVIATION.store(deviation, Ordering::Relaxed);
    CORRECTION.store(correction, Ordering::Relaxed);
}

/// How far the machine's clock is ahead of the broker's, in milliseconds; 0 until it is known.
#[must_use]
pub fn deviation() -> i64 {
    DEVIATION.load(Ordering::Relaxed)
}

/// When a UUIDv7 was made, by the clock of the machine that made it; none for any other UUID.
#[must_use]
pub fn made_at(uuid: Uuid) -> Option<Timestamp> {
    let (seconds, nanos) = uuid.get_timestamp()?.to_unix();
    let millis = i64::try_from(seconds).ok()?.checked_mul(1000)?;
    Some(Timestamp::from_millis(millis.saturating_add(i64::from(nanos / 1_000_000))))
}

/// A fresh UUIDv7.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the clock adapter")]
pub fn fresh_uuid() -> Uuid {
    Uuid::now_v7()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_at_is_the_time_of_a_fresh_uuid() {
        let (before, uuid, after) = (machine_millis(), fresh_uuid(), machine_millis());
        assert!((before..=after).contains(&made_at(uuid).unwrap().millis()));
        assert_eq!(made_at(Uuid::from_u128(7)), None);
    }
}
