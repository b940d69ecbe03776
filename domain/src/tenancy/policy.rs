//! The limits and the facts that decisions about instances depend on.

use std::time::Duration;

use crate::placement::Candidate;
use crate::timestamp::Timestamp;

/// Limits of time and attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Time limit of each placement of a new instance.
    pub create_within: Duration,
    /// Time limit of a stop.
    pub stop_within: Duration,
    /// Time limit of a resume.
    pub resume_within: Duration,
    /// Time limit of a deletion.
    pub delete_within: Duration,
    /// For how long a backend is lost before its instances are recreated elsewhere, if their owners chose that.
    pub recreate_after: Duration,
    /// A create fails when this many backends missed their deadline.
    pub max_late_backends: usize,
    /// The maximum number of backends to try.
    pub max_attempts: usize,
}

impl Default for Policy {
    /// Two attempts of 15 s fit into the 30 s that a create request waits for its outcome.
    fn default() -> Self {
        Self {
            create_within: Duration::from_secs(15),
            stop_within: Duration::from_secs(30),
            resume_within: Duration::from_secs(30),
            delete_within: Duration::from_secs(30),
            recreate_after: Duration::from_secs(300),
            max_late_backends: 2,
            max_attempts: 8,
        }
    }
}

/// The facts from outside the aggregate.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The deciding replica's time.
    pub now: Timestamp,
    /// The limits.
    pub policy: Policy,
    /// The backends.
    pub candidates: Vec<Candidate>,
    /// A number that differs between decisions; it chooses among equal backends.
    pub tie_breaker: u64,
}
