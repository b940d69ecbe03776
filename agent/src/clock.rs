//! The agent's only source of time and randomness; other modules get both as arguments.

use dockhost_domain::ids::AgentRunId;
use dockhost_domain::timestamp::Timestamp;
use rand::Rng;
use time::OffsetDateTime;

/// The current time, in milliseconds.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the agent's clock adapter")]
pub fn now() -> Timestamp {
    let millis = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// A random id for this run of the agent.
#[must_use]
pub fn random_run_id() -> AgentRunId {
    AgentRunId::from_uuid(uuid::Builder::from_random_bytes(rand::rng().random()).into_uuid())
}

/// 32 random hex characters. The broker deduplicates message ids per stream, so if ids were guessable, another backend
/// could suppress this one's messages.
#[must_use]
pub fn random_id() -> String {
    let bits: u128 = rand::rng().random();
    format!("{bits:032x}")
}
