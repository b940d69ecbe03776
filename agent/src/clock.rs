//! The only place of the agent that reads the clock and draws randomness; everything else gets them as arguments.

use dockhost_domain::timestamp::Timestamp;
use rand::Rng;
use time::OffsetDateTime;

/// Now, in event time.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the agent's clock adapter")]
pub fn now() -> Timestamp {
    let millis = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// 32 hex characters that nobody can guess: the broker's dedupe is stream-wide, so a guessable message id would let
/// another backend swallow ours.
#[must_use]
pub fn random_id() -> String {
    let bits: u128 = rand::rng().random();
    format!("{bits:032x}")
}
