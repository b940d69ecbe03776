//! How long things may take and how often they are tried, and the facts that decisions about instances share.

use std::time::Duration;

use crate::placement::Candidate;
use crate::timestamp::Timestamp;

/// How long things may take and how often they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// For a machine to make a container.
    pub create_within: Duration,
    /// For a machine to stop one.
    pub stop_within: Duration,
    /// For a machine to start one again.
    pub resume_within: Duration,
    /// For a machine to remove one.
    pub delete_within: Duration,
    /// Machines that may be late before a create fails.
    pub max_late_backends: usize,
    /// Machines that are tried at most.
    pub max_attempts: usize,
}

impl Default for Policy {
    /// Two tries of 15 s fit in the 30 s that a create waits for its outcome.
    fn default() -> Self {
        Self {
            create_within: Duration::from_secs(15),
            stop_within: Duration::from_secs(30),
            resume_within: Duration::from_secs(30),
            delete_within: Duration::from_secs(30),
            max_late_backends: 2,
            max_attempts: 8,
        }
    }
}

/// What a decision may need to know from outside.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The deciding replica's time.
    pub now: Timestamp,
    /// How long, how often.
    pub policy: Policy,
    /// The machines.
    pub candidates: Vec<Candidate>,
    /// Differs from decision to decision; picks among equal machines.
    pub tie_breaker: u64,
}
