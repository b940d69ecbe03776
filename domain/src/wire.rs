//! The messages between the server and the agents, as `docs/EVENTS.md` describes them.
//!
//! They are JSON bodies on the subjects of [`crate::subject::Channel`]. Both sides ignore unknown members, so that an
//! older agent works with a newer server. Agents are not trusted: their messages are parsed by [`crate::reported::parse`]
//! into types that only valid values have, a report is input to a command, and the broker's permissions determine the
//! sender by the subject.

use serde::{Deserialize, Serialize};

use crate::ids::{AgentRunId, BackendId, InstanceId, UserId};
use crate::reported::{self, BackendAddress, ContainerId, HostKeys, KeyDigest, ShortText};
use crate::room::Overcommit;
use crate::timestamp::Timestamp;

mod container_end;
mod machine;
mod ssh_watch;

pub use container_end::{ContainerEnd, RestartPolicy};
pub use machine::{EngineState, ImageState, IsolationState, MachineSize, MachineStatus};
pub use ssh_watch::{SshWatch, SshWatches, TooManyWatches};

/// The header of a report with the [`AgentRunId`] of its sender.
pub const AGENT_RUN_HEADER: &str = "Dockhost-Agent-Run";

/// The desired state of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DesiredState {
    /// Its container runs.
    Running,
    /// Its container exists and does not run; its files remain.
    Stopped,
    /// Its container and files do not exist.
    Deleted,
}

/// The observed state of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The container runs and its SSH server accepts connections.
    Running,
    /// The container exists and does not run.
    Stopped,
}

/// A container's resource limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Memory in MiB, including swap.
    pub memory_mib: u32,
    /// CPU time in thousandths of a processor.
    pub cpu_millis: u32,
    /// Number of processes and threads.
    pub pids: u32,
}

/// The host ports that forward to a container: 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ports {
    /// To port 22.
    #[serde(deserialize_with = "reported::port")]
    pub ssh: u16,
    /// To port 80.
    #[serde(deserialize_with = "reported::port")]
    pub http: u16,
    /// To port 443.
    #[serde(deserialize_with = "reported::port")]
    pub https: u16,
}

/// `dockhost.assignment.<backend>.<instance>`: the whole desired state of one instance on one backend. Only the last
/// one per subject counts; the agent reconciles the container with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// The instance.
    pub instance_id: InstanceId,
    /// Its owner; repeated in reports.
    pub user_id: UserId,
    /// Rises when a new container is needed; the agent first removes a container of a lower placement.
    pub placement: u32,
    /// Rises with each change of the desired state; repeated in reports.
    pub generation: u32,
    /// The desired state.
    #[serde(rename = "wanted")]
    pub desired: DesiredState,
    /// How to create the container; absent when `wanted` is `deleted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerSpec>,
}

/// How to create a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSpec {
    /// The image; the agent's default if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Its host name.
    pub hostname: String,
    /// The OpenSSH public key of root; the one that was requested first, if `authorizedKeys` is present.
    pub ssh_public_key: String,
    /// All keys of root, if there are several or if they were changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorized_keys: Option<AuthorizedKeys>,
    /// Its resource limits.
    pub limits: Limits,
    /// The id of this placement's container, once reported. If no such container exists, the agent confirms the assignment and
    /// reports `instance-failed` with the code `container_gone`; a new container would hide that the files are lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// What to do when the container ends though it should run; `on-failure` if absent.
    #[serde(default, skip_serializing_if = "RestartPolicy::is_default")]
    pub restart: RestartPolicy,
    /// Whether the container has run in this generation. With the policy `never`, an agent does not start it then, but
    /// reports that it ended. Absent with another policy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_run: bool,
}

/// The keys that may log in to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizedKeys {
    /// Rises with each change, from 0. Placement and generation stay: the agent replaces the keys of a running container
    /// that has those of a lower version, without restarting it.
    pub version: u32,
    /// OpenSSH public keys without comments; none if nobody may log in.
    pub keys: Vec<String>,
}

impl ContainerSpec {
    /// The keys that may log in, and their version.
    #[must_use]
    pub fn keys(&self) -> (u32, &[String]) {
        match &self.authorized_keys {
            Some(AuthorizedKeys { version, keys }) => (*version, keys),
            None => (0, std::slice::from_ref(&self.ssh_public_key)),
        }
    }
}

/// An agent's observation of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observation {
    /// Whether it runs.
    pub phase: Phase,
    /// Its id in the container runtime.
    pub container_id: ContainerId,
    /// Its published ports.
    pub ports: Ports,
    /// SHA-256 fingerprints of its SSH host keys, as `ssh-keygen -l` prints them; empty until the agent has read them.
    #[serde(default, skip_serializing_if = "HostKeys::is_empty")]
    pub host_keys: HostKeys,
    /// Why it does not run although it should; absent if it runs, or should not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<ContainerEnd>,
}

/// Why an agent refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentError {
    /// A stable code: `no_capacity`, `no_ports`, `image_missing`, `image_fetching`, `container_gone`, `runtime_error`,
    /// and those of [`ContainerEnd::code`]. Agents of other releases may use others.
    pub code: ShortText,
    /// One sentence for the instance's owner.
    pub message: ShortText,
}

/// `dockhost.report.<backend>`: a report about one instance. The agent repeats it until the broker has stored it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The instance.
    pub instance_id: InstanceId,
    /// Its owner, from the assignment or the container's label.
    pub user_id: UserId,
    /// The placement that it is about.
    pub placement: u32,
    /// The generation that the agent acted on.
    pub generation: u32,
    /// What the agent reports.
    #[serde(flatten)]
    pub kind: ReportKind,
}

/// What an agent reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ReportKind {
    /// A container was created, or found, for this placement.
    InstanceCreated(Observation),
    /// The container changed, or was compared with an assignment.
    InstanceStatus(Observation),
    /// No container of this placement exists.
    InstanceDeleted,
    /// The agent refused the placement and created nothing.
    InstanceRefused(AgentError),
    /// The agent tried and failed.
    InstanceFailed(AgentError),
}

/// `dockhost.heartbeat.<backend>`: sent every 5 s and after each change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// The address of the published ports (`LAN_IP`).
    pub address: BackendAddress,
    /// Existing containers, running or not.
    pub containers: u32,
    /// The backend's capacity.
    pub max_containers: u32,
    /// `docker`, `podman`, `simulated` or `socketio`.
    pub runtime: ShortText,
    /// The agent's version.
    pub agent_version: ShortText,
    /// One-minute load average divided by the number of processors.
    pub load: f64,
    /// Used memory, from 0 to 1.
    pub memory: f64,
    /// The time by the agent's clock. Only shown, compared with the server's: nothing depends on it.
    pub at: Timestamp,
    /// The sender's run; absent if the agent is of an earlier release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_run: Option<AgentRunId>,
    /// The agent has ended its work and sends nothing more: another run may take over at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// What the machine has for instances; absent if the agent does not say it, as those of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<MachineSize>,
    /// The containers whose SSH connections are watched; absent if the agent watches none, as those of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_connections: Option<SshWatches>,
    /// Whether the machine can run containers now.
    #[serde(flatten)]
    pub machine: MachineStatus,
}

/// The request on `dockhost.hello.<backend>`, after each connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The agent's version.
    pub agent_version: ShortText,
    /// The sender's run; absent if the agent is of an earlier release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_run: Option<AgentRunId>,
    /// The digest of the sender's API key. If the server has another key for it, the answer has that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_digest: Option<KeyDigest>,
}

/// The response to [`Hello`], once the backend's consumer exists. The agent removes no container before it has received
/// all pending assignments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Welcome {
    /// The agent's backend.
    pub backend_id: BackendId,
    /// Assignments pending in the consumer.
    pub assignments: u64,
    /// The stream of the assignments.
    pub stream: String,
    /// The consumer to pull from.
    pub consumer: String,
    /// The capacity that the backend is enrolled with.
    pub max_containers: u32,
    /// The image of new instances, so that the agent can fetch it before one needs it; the agent's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// As in [`HeartbeatAnswer`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reports_created_at: Option<u64>,
    /// Whether an administrator has to approve the backend before it gets instances. Absent if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awaits_approval: bool,
    /// How many times what the machine has the instances on it may have in all; what is absent is not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overcommit: Option<Overcommit>,
    /// The API key to use from the next connection on; absent if the sender's is the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<AgentKey>,
}

/// An API key in a message; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AgentKey(pub String);

impl std::fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AgentKey(…)")
    }
}

/// The response to a [`Heartbeat`] that was sent as a request: the sender's server works. Empty from earlier servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatAnswer {
    /// When the stream of reports was created, in Unix milliseconds. If that is later than before, the stream was lost and
    /// made again, and stored reports may be lost with it: report on each assignment again. Absent if the server does not
    /// know it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reports_created_at: Option<u64>,
}

/// The request on `dockhost.confirm.<backend>`: whether an assignment is current. An agent sends it before it creates a
/// container, because a restarted broker node may deliver, while it catches up, an assignment that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Confirm {
    /// The instance.
    pub instance_id: InstanceId,
    /// The assignment's placement.
    pub placement: u32,
    /// The assignment's generation.
    pub generation: u32,
    /// The sender's run; absent if the agent is of an earlier release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_run: Option<AgentRunId>,
}

/// The response to [`Confirm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Confirmed {
    /// Whether this placement and generation are current. If not, the agent discards the assignment.
    #[serde(rename = "stands")]
    pub is_current: bool,
}

#[cfg(test)]
mod tests;
