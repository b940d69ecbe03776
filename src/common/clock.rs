//! The only module that reads the clock and generates ids; all other code gets them as arguments.

use dockhost_domain::timestamp::Timestamp;
use time::OffsetDateTime;
use uuid::Uuid;

/// The current time, with the precision of event times (milliseconds).
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the clock adapter")]
pub fn now() -> Timestamp {
    let millis = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// A fresh UUIDv7.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the clock adapter")]
pub fn fresh_uuid() -> Uuid {
    Uuid::now_v7()
}
