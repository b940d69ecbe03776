//! What the server and the agents say to each other: the vocabulary of `docs/EVENTS.md`.
//!
//! In and out: JSON bodies on the subjects of [`crate::subject::Channel`]. Unknown members are ignored on both sides,
//! so that an older agent works with a newer server. An agent is not trusted: what it reports is decided upon like a
//! command, and its identity comes from the subject that the broker let it use, never from a body.

use serde::{Deserialize, Serialize};

use crate::ids::{BackendId, InstanceId, UserId};
use crate::timestamp::Timestamp;

/// What an instance should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DesiredState {
    /// Its container runs.
    Running,
    /// Its container exists and does not run; the files stay.
    Stopped,
    /// Its container and files are gone.
    Deleted,
}

/// What the container does, as its agent saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The container runs and its SSH server accepts connections.
    Running,
    /// The container exists and does not run.
    Stopped,
}

/// What a container may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Memory in mebibytes (swap included).
    pub memory_mib: u32,
    /// Thousandths of a processor.
    pub cpu_millis: u32,
    /// Processes and threads.
    pub pids: u32,
}

/// The host ports behind a container's ports 22, 80 and 443.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ports {
    /// Leads to 22.
    pub ssh: u16,
    /// Leads to 80.
    pub http: u16,
    /// Leads to 443.
    pub https: u16,
}

/// `dockhost.assignment.<backend>.<instance>`: the full wanted state of one instance on one backend. The last one per
/// subject is the truth; an agent compares it with what runs and acts on the difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// The instance.
    pub instance_id: InstanceId,
    /// Its owner; echoed in reports.
    pub user_id: UserId,
    /// Rises when the container must be a new one: a container of a lower placement is removed first.
    pub placement: u32,
    /// Rises with each change of what is wanted; echoed in reports.
    pub generation: u32,
    /// What should be.
    #[serde(rename = "wanted")]
    pub desired: DesiredState,
    /// What is needed to make the container; absent when `wanted` is `deleted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerSpec>,
}

/// What is needed to make a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSpec {
    /// The image; the agent's own default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The host name inside.
    pub hostname: String,
    /// The OpenSSH public key that may log in as root.
    pub ssh_public_key: String,
    /// What it may use.
    pub limits: Limits,
    /// The container that this placement is known to have. When it is given and no such container exists, the agent
    /// reports `instance-failed` with the code `container_gone`: it must not put an empty one in place of lost files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
}

/// What an agent saw of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observation {
    /// What the container does.
    pub phase: Phase,
    /// The runtime's id of it.
    pub container_id: String,
    /// The published ports.
    pub ports: Ports,
    /// SHA-256 fingerprints of its SSH host keys, as `ssh-keygen -l` prints them; empty until known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<String>,
}

/// Why an agent could not do as it was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentError {
    /// A stable word: `no_capacity`, `no_ports`, `image_missing`, `container_gone`, `runtime_error`. Stored
    /// reports may hold others, so no code is an error.
    pub code: String,
    /// One sentence for people.
    pub message: String,
}

/// `dockhost.report.<backend>`: what an agent reports of one instance. Re-sent until the broker has stored it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The instance.
    pub instance_id: InstanceId,
    /// The owner named by the assignment or by the container's label.
    pub user_id: UserId,
    /// The placement that the report is about.
    pub placement: u32,
    /// The generation that the agent acted on.
    pub generation: u32,
    /// What happened.
    #[serde(flatten)]
    pub kind: ReportKind,
}

/// What a report says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ReportKind {
    /// A container was made or found for this placement.
    InstanceCreated(Observation),
    /// The container changed, or is as it was.
    InstanceStatus(Observation),
    /// No container of this placement exists (any more).
    InstanceDeleted,
    /// The agent does not take this placement; nothing was made.
    InstanceRefused(AgentError),
    /// The agent tried and could not.
    InstanceFailed(AgentError),
}

/// `dockhost.heartbeat.<backend>`: a sign of life, every 5 s and after each change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// Where clients reach the published ports (`LAN_IP`).
    pub address: String,
    /// Containers that exist, running or not.
    pub containers: u32,
    /// Containers that it takes at most.
    pub max_containers: u32,
    /// `docker`, `podman` or `simulated`.
    pub runtime: String,
    /// The agent's version.
    pub agent_version: String,
    /// One-minute load average divided by the number of processors.
    pub load: f64,
    /// Memory in use, 0 to 1.
    pub memory: f64,
    /// The agent's own clock.
    pub at: Timestamp,
}

/// `dockhost.hello.<backend>`, the request: an agent came up or came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The agent's version.
    pub agent_version: String,
}

/// The answer to [`Hello`]: the backend's consumer stands, and holds this many assignments. The agent removes nothing
/// before it has seen them all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Welcome {
    /// Who the server says the agent is.
    pub backend_id: BackendId,
    /// Assignments that wait in the consumer.
    pub assignments: u64,
    /// The stream that holds the assignments.
    pub stream: String,
    /// The consumer to pull from.
    pub consumer: String,
    /// Containers that this backend is enrolled for.
    pub max_containers: u32,
}

/// `dockhost.confirm.<backend>`, the request: whether an assignment still stands. An agent asks before it makes a
/// container, because a node of the broker that was killed may hand out, while it catches up, what was removed long ago.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Confirm {
    /// The instance.
    pub instance_id: InstanceId,
    /// The assignment's placement.
    pub placement: u32,
    /// The assignment's generation.
    pub generation: u32,
}

/// The answer to [`Confirm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Confirmed {
    /// Whether exactly this is wanted now. If not, it is over: a newer assignment is on its way, or none is wanted.
    #[serde(rename = "stands")]
    pub is_current: bool,
}

#[cfg(test)]
mod tests;
