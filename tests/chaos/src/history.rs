//! The history: each request of each client with its start, end and outcome.
//!
//! A missing response is a separate outcome: it means unknown, not failed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use dockhost::common::clock;
use dockhost_domain::ids::UserId;
use dockhost_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A point in time on two clocks.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Moment {
    /// Milliseconds since the start of the run; monotonic.
    pub ms: u64,
    /// Wall-clock time, as in events.
    pub at: Timestamp,
}

/// The kind of a request.
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
    /// An administrator drains a machine.
    Drain,
    Undrain,
    /// The user's instances.
    List,
    /// One instance.
    #[serde(alias = "look")]
    Get,
    Health,
}

impl Kind {
    #[must_use]
    pub const fn is_read(self) -> bool {
        matches!(self, Self::List | Self::Get | Self::Health)
    }
}

/// One request with its outcome.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// The client. It sends one request at a time.
    pub client: String,
    /// Its `x-request-id`, which is also in the `dockhost-cause` of the resulting events.
    pub request: String,
    /// The replica's index.
    pub replica: usize,
    pub kind: Kind,
    /// The user, if known before the response.
    pub user: Option<UserId>,
    /// The sent `Idempotency-Key`.
    pub key: Option<String>,
    /// The sequence of the sent `Dockhost-Position`.
    pub position: Option<u64>,
    /// The id of the instance in the request.
    pub instance: Option<String>,
    /// The body without secrets.
    pub sent: Value,
    pub begun: Moment,
    pub ended: Moment,
    pub outcome: Outcome,
    /// What makes the response differ from the documented envelope.
    #[serde(default)]
    pub malformed: Option<String>,
}

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// A response with any status.
    Answered {
        status: u16,
        /// The error's code; empty on success.
        code: String,
        /// The sequence of its `Dockhost-Position`.
        position: Option<u64>,
        /// The envelope's data, or the error's details; without tokens.
        data: Value,
    },
    /// No response: the connection was refused or reset, or the request timed out.
    #[serde(alias = "lost")]
    NoResponse {
        #[serde(alias = "why")]
        reason: String,
    },
}

/// What an outcome tells about the command's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeClass {
    /// Acknowledged: the events are in the log.
    Done,
    /// Refused: there are no events.
    Refused,
    /// Either all events are in the log or none.
    Unknown,
}

impl Operation {
    #[must_use]
    pub fn class(&self) -> OutcomeClass {
        match &self.outcome {
            Outcome::NoResponse { .. } => OutcomeClass::Unknown,
            Outcome::Answered { status, code, .. } => match code.as_str() {
                // The command was stored, but the operation failed.
                "operation_failed" => OutcomeClass::Done,
                "outcome_unknown" | "request_timeout" | "internal_error" => OutcomeClass::Unknown,
                "" if (200..300).contains(status) => OutcomeClass::Done,
                // The response does not come from DockHost.
                "" => OutcomeClass::Unknown,
                _ => OutcomeClass::Refused,
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

    /// The position in the response.
    #[must_use]
    pub fn response_position(&self) -> Option<u64> {
        if let Outcome::Answered { position, .. } = &self.outcome { *position } else { None }
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {} of {} at replica {}", self.kind, self.request, self.client, self.replica)?;
        match &self.outcome {
            Outcome::Answered { status, code, .. } => write!(f, " ({status} {code})"),
            Outcome::NoResponse { reason } => write!(f, " (no response: {reason})"),
        }
    }
}

/// Records the requests of all clients.
#[derive(Debug, Clone)]
pub struct Recorder {
    start: Instant,
    operations: Arc<Mutex<Vec<Operation>>>,
    probes: Arc<Mutex<BTreeMap<String, Option<Success>>>>,
    /// The last answer of each replica's `/health` that said `healthy`.
    healthy: Arc<Mutex<BTreeMap<usize, Option<Success>>>>,
}

/// The last success of a probe, in milliseconds of [`Moment::ms`].
#[derive(Debug, Clone, Copy)]
struct Success {
    begun: u64,
    ended: u64,
}

/// When the last of these succeeded that began at `ms` or later; `None` while one has not.
fn all_since<K>(last: &Mutex<BTreeMap<K, Option<Success>>>, ms: u64) -> Option<u64> {
    let last = last.lock().unwrap_or_else(PoisonError::into_inner);
    let ends = last.values().map(|last| last.filter(|success| success.begun >= ms).map(|success| success.ended));
    Some(ends.collect::<Option<Vec<_>>>()?.into_iter().max().unwrap_or(ms))
}

impl Default for Recorder {
    fn default() -> Self {
        Self { start: Instant::now(), operations: Arc::default(), probes: Arc::default(), healthy: Arc::default() }
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

    /// Adds a probe that must succeed for the system to be well.
    pub fn add_probe(&self, probe: &str) {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner).insert(probe.to_owned(), None);
    }

    /// Records the success of a probe.
    pub fn succeeded(&self, probe: &str, begun: Moment) {
        let success = Success { begun: begun.ms, ended: self.now().ms };
        self.probes.lock().unwrap_or_else(PoisonError::into_inner).insert(probe.to_owned(), Some(success));
    }

    /// When all probes had succeeded that were sent at `ms` or later; `None` while one has not.
    #[must_use]
    pub fn well_since(&self, ms: u64) -> Option<u64> {
        all_since(&self.probes, ms)
    }

    /// Adds a replica whose `/health` must say `healthy` for the system to be whole.
    pub fn add_health(&self, replica: usize) {
        self.healthy.lock().unwrap_or_else(PoisonError::into_inner).insert(replica, None);
    }

    /// Records that a replica's `/health` said `healthy`.
    pub fn said_healthy(&self, replica: usize, begun: Moment) {
        let success = Success { begun: begun.ms, ended: self.now().ms };
        self.healthy.lock().unwrap_or_else(PoisonError::into_inner).insert(replica, Some(success));
    }

    /// When all replicas had said `healthy` that were asked at `ms` or later; `None` while one has not.
    #[must_use]
    pub fn healthy_since(&self, ms: u64) -> Option<u64> {
        all_since(&self.healthy, ms)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All recorded requests, ordered by their end.
    #[must_use]
    pub fn history(&self) -> Vec<Operation> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
