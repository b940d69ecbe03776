//! The history: every request of every client, with what was sent, when, and what came of it.
//!
//! In: requests as they begin and end. Out: operations that a checker can judge. "No answer" is an outcome of its own:
//! it means unknown, never failed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use dockhost::common::clock;
use dockhost_domain::ids::UserId;
use dockhost_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A point in time, by both clocks.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Moment {
    /// Milliseconds since the run began; monotonic.
    pub ms: u64,
    /// The wall clock, as events have it.
    pub at: Timestamp,
}

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    SignUp,
    SignIn,
    SignOut,
    Create,
    Stop,
    Resume,
    Delete,
    /// The list of one's instances.
    List,
    /// One instance.
    Look,
    Health,
}

impl Kind {
    #[must_use]
    pub const fn is_read(self) -> bool {
        matches!(self, Self::List | Self::Look | Self::Health)
    }
}

/// One request, from its sending to its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Which client sent it; a client sends one request at a time.
    pub client: String,
    /// Its `x-request-id`, which stands in the cause of the events that came of it.
    pub request: String,
    /// Which replica was asked.
    pub replica: usize,
    pub kind: Kind,
    /// On whose behalf, where that is known before the answer.
    pub user: Option<UserId>,
    /// The `Idempotency-Key` that was sent.
    pub key: Option<String>,
    /// The sequence of the `Dockhost-Position` that was sent.
    pub position: Option<u64>,
    /// The instance that it names.
    pub instance: Option<String>,
    /// What else was sent, secrets left out.
    pub sent: Value,
    pub begun: Moment,
    pub ended: Moment,
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// An answer, whatever it said.
    Answered {
        status: u16,
        /// The error's code; empty if it is none.
        code: String,
        /// The sequence of its `Dockhost-Position`.
        position: Option<u64>,
        /// The envelope's data, or the error's details; tokens left out.
        data: Value,
    },
    /// None: refused, cut off, or too late.
    Lost { why: String },
}

/// What an outcome says about the command's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Acknowledged: they are in the log.
    Done,
    /// Refused: there are none.
    Failed,
    /// All of them or none.
    Unknown,
}

impl Operation {
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match &self.outcome {
            Outcome::Lost { .. } => Verdict::Unknown,
            Outcome::Answered { status, code, .. } => match code.as_str() {
                // The command was stored; what it asked for could not be done.
                "operation_failed" => Verdict::Done,
                "outcome_unknown" | "request_timeout" | "internal_error" => Verdict::Unknown,
                "" if (200..300).contains(status) => Verdict::Done,
                // An answer that is none of ours.
                "" => Verdict::Unknown,
                _ => Verdict::Failed,
            },
        }
    }

    #[must_use]
    pub fn status(&self) -> Option<u16> {
        if let Outcome::Answered { status, .. } = &self.outcome { Some(*status) } else { None }
    }

    #[must_use]
    pub fn code(&self) -> &str {
        if let Outcome::Answered { code, .. } = &self.outcome { code } else { "" }
    }

    #[must_use]
    pub fn data(&self) -> &Value {
        if let Outcome::Answered { data, .. } = &self.outcome { data } else { &Value::Null }
    }

    /// The position that the answer gave.
    #[must_use]
    pub fn answered_at(&self) -> Option<u64> {
        if let Outcome::Answered { position, .. } = &self.outcome { *position } else { None }
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {} of {} at replica {}", self.kind, self.request, self.client, self.replica)?;
        match &self.outcome {
            Outcome::Answered { status, code, .. } => write!(f, " ({status} {code})"),
            Outcome::Lost { why } => write!(f, " (no answer: {why})"),
        }
    }
}

/// Where all clients write down what they do.
#[derive(Debug, Clone)]
pub struct Recorder {
    start: Instant,
    operations: Arc<Mutex<Vec<Operation>>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { start: Instant::now(), operations: Arc::default() }
    }
}

impl Recorder {
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment { ms: u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX), at: clock::now() }
    }

    pub fn record(&self, operation: Operation) {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All that was recorded, in the order of its endings.
    #[must_use]
    pub fn history(&self) -> Vec<Operation> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
