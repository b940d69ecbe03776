//! What is there: the log, the read models, the containers, the assignments, the timers, the consumers.
//!
//! In: what [`crate::collect`] read. Out: plain data, all of which stands in the report.

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
    /// As stored, the expectation among them.
    pub headers: BTreeMap<String, String>,
    /// Hex SHA-256 of the stored body.
    pub hash: String,
    /// The body with its personal values opened; absent if it can't be read.
    pub data: Option<Value>,
}

/// What one node of a cluster holds of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Copy {
    pub node: String,
    /// Sequence, subject, hash of the body.
    pub entries: Vec<(u64, String, String)>,
}

/// A simulated machine, and everything that ever happened to its containers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    pub name: String,
    pub backend_id: BackendId,
    pub max_containers: usize,
    pub changes: Vec<Change>,
}

/// A change of a machine's containers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Change {
    /// It exists, in this state.
    Put { id: String, instance: InstanceId, placement: u32, running: bool },
    /// It exists no more.
    Removed { id: String },
}

/// A read model as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    pub name: String,
    pub incarnation: String,
    /// How far it was folded.
    pub checkpoint: u64,
    pub documents: Vec<Value>,
}

/// What `dockhost verify` said.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    pub equal: bool,
    pub said: String,
}

/// A stored assignment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredAssignment {
    pub backend_id: BackendId,
    pub instance_id: InstanceId,
    pub body: Value,
}

/// A consumer that outlives its reader.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Consumer {
    pub stream: String,
    pub name: String,
    /// Messages that were not delivered yet.
    pub pending: u64,
    /// Messages that were delivered and not acknowledged.
    pub unacknowledged: u64,
}

/// All of it, at one time.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observation {
    pub at: Timestamp,
    pub incarnation: String,
    pub log: Vec<Entry>,
    /// On a cluster: each node's.
    pub copies: Vec<Copy>,
    pub machines: Vec<Machine>,
    pub models: Vec<Model>,
    /// Asked once all was well.
    pub verified: Option<Verified>,
    pub assignments: Vec<StoredAssignment>,
    pub consumers: Vec<Consumer>,
    /// The subjects of what stands in TIMERS.
    pub timers: Vec<String>,
    /// Reports that nobody took in yet.
    pub reports: u64,
    /// What each replica says at `/health`; null if it does not answer.
    pub health: Vec<Value>,
}
