//! The observed state of a system: log, read models, containers, assignments, timers and consumers.

use std::collections::BTreeMap;

use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One message of the stream EVENTS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub sequence: u64,
    pub subject: String,
    /// As stored, including the expectation.
    pub headers: BTreeMap<String, String>,
    /// Hex SHA-256 of the stored body.
    pub hash: String,
    /// The body with decrypted personal values; absent if the event is unreadable.
    pub data: Option<Value>,
}

/// One node's copy of the log in a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeCopy {
    pub node: String,
    /// Sequence, subject and hash of the body of each event.
    pub entries: Vec<(u64, String, String)>,
}

/// A simulated machine with all changes to its containers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    pub name: String,
    pub backend_id: BackendId,
    pub max_containers: usize,
    pub changes: Vec<Change>,
}

/// A change to a machine's containers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Change {
    /// The container was created or changed; its new state.
    Put { id: String, instance: InstanceId, placement: u32, running: bool },
    /// The container was removed.
    Removed { id: String },
}

/// A read model as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    pub name: String,
    pub incarnation: String,
    /// The sequence of the last folded event.
    pub checkpoint: u64,
    pub documents: Vec<Value>,
}

/// The result of `dockhost verify`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    pub equal: bool,
    /// Standard output and standard error.
    #[serde(alias = "said")]
    pub output: String,
}

/// A message of the stream ASSIGNMENTS.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredAssignment {
    pub backend_id: BackendId,
    pub instance_id: InstanceId,
    pub body: Value,
}

/// A durable consumer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Consumer {
    pub stream: String,
    pub name: String,
    /// Messages that are not delivered yet.
    pub pending: u64,
    /// Messages that are delivered but not acknowledged.
    pub unacknowledged: u64,
}

/// The state at one time.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observation {
    pub at: Timestamp,
    pub incarnation: String,
    pub log: Vec<Entry>,
    /// Each node's copy of the log; empty without a cluster.
    pub copies: Vec<NodeCopy>,
    pub machines: Vec<Machine>,
    pub models: Vec<Model>,
    /// Run once the system is healthy.
    pub verified: Option<Verified>,
    pub assignments: Vec<StoredAssignment>,
    pub consumers: Vec<Consumer>,
    /// The subjects of the messages in TIMERS.
    pub timers: Vec<String>,
    /// Reports that wait in REPORTS.
    pub reports: u64,
    /// Each replica's response to `GET /health`; null without a response.
    pub health: Vec<Value>,
}

impl Observation {
    /// Nothing, for a system that could not be observed.
    #[must_use]
    pub const fn none(at: Timestamp) -> Self {
        Self {
            at,
            incarnation: String::new(),
            log: Vec::new(),
            copies: Vec::new(),
            machines: Vec::new(),
            models: Vec::new(),
            verified: None,
            assignments: Vec::new(),
            consumers: Vec::new(),
            timers: Vec::new(),
            reports: 0,
            health: Vec::new(),
        }
    }
}
