//! The document of one instance: its whole state, so that the domain's `evolve` applies the next event, and members that are
//! derived from the state for queries and operators.

use dockhost_domain::ids::{BackendId, InstanceId, UserId};
use dockhost_domain::minutes::Minutes;
use dockhost_domain::names::InstanceName;
use dockhost_domain::tenancy::event::RecordedPorts;
use dockhost_domain::tenancy::{Instance, Progress, Status};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::DesiredState;
use serde::{Deserialize, Serialize};

use crate::store::{Document, StoredModel, View};

/// The read model `instances`.
#[derive(Debug, Clone, Copy)]
pub struct Instances;

impl StoredModel for Instances {
    const NAME: &'static str = "instances";
    const FOLD_VERSION: u32 = 6;
    const INDEXES: &'static [&'static [&'static str]] = &[
        &["userId", "status", "_id"],
        &["userId", "name"],
        &["status", "_id"],
        &["backendId", "_id"],
        &["name"],
        &["state.lastMove.from"],
        &["deadline"],
        &["expiresAt"],
        &["autostopMinutes"],
    ];

    type Document = InstanceDocument;

    fn view() -> View {
        super::view::view()
    }
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceDocument {
    /// The instance's id.
    #[serde(rename = "_id")]
    pub instance_id: InstanceId,
    /// Its owner.
    pub user_id: UserId,
    /// Its name; `None` once it is deleted.
    pub name: Option<InstanceName>,
    /// Its status while its backend sends heartbeats; see [`Instance::status_on`] for the other case.
    pub status: Status,
    /// Its desired state.
    pub wanted: DesiredState,
    /// Rises with each change of the desired state.
    pub generation: u32,
    /// Rises when a new container is needed.
    pub placement: u32,
    /// Its backend; `None` if it has no placement.
    pub backend_id: Option<BackendId>,
    /// The runtime's id of its container; `None` until it is reported.
    pub container_id: Option<String>,
    /// Its published ports; `None` until they are reported.
    pub ports: Option<RecordedPorts>,
    /// SHA-256 fingerprints of its SSH host keys; empty until they are reported.
    pub host_keys: Vec<String>,
    /// When it was requested.
    pub created_at: Timestamp,
    /// When its user or its container last changed it, or somebody was connected to it, as far as that was recorded.
    pub last_activity: Timestamp,
    /// When its current state ends, if that is transitional.
    pub deadline: Option<Timestamp>,
    /// When it is stopped, if its owner set that.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// After how many minutes without an SSH connection it is stopped, if its owner set that.
    #[serde(default)]
    pub autostop_minutes: Option<Minutes>,
    /// Why it failed, in one sentence.
    pub failure: Option<String>,
    /// The whole state.
    pub state: Instance,
    /// The sequence of the last event in it.
    pub seq: u64,
}

impl InstanceDocument {
    /// The document of a state. Removes the personal values of a deleted instance, so that the documents of an erased user
    /// are the same whether they are folded with or without the key.
    #[must_use]
    pub fn of(instance_id: InstanceId, user_id: UserId, mut state: Instance, seq: u64) -> Self {
        if state.is_deleted() {
            state.erase_personal_values();
        }
        let observation = state.last_observation().map(|seen| &seen.observation);
        Self {
            instance_id,
            user_id,
            name: state.name.plain().cloned(),
            status: state.status(),
            wanted: state.desired,
            generation: state.generation,
            placement: state.placement,
            backend_id: state.current_placement.as_ref().map(|current| current.backend_id),
            container_id: observation.map(|seen| seen.container_id.clone()),
            ports: observation.map(|seen| seen.ports),
            host_keys: observation.map(|seen| seen.host_keys.clone()).unwrap_or_default(),
            created_at: state.created_at,
            last_activity: state.last_activity,
            deadline: state.deadline(),
            expires_at: state.lifetime.set.expires_at,
            autostop_minutes: state.lifetime.set.autostop_minutes,
            failure: match &state.progress {
                Progress::Failed { failure } => Some(failure.reason.explain()),
                Progress::Pending { .. } | Progress::Stable | Progress::Deleted { .. } => None,
            },
            state,
            seq,
        }
    }
}

impl Document for InstanceDocument {
    type Id = InstanceId;

    fn id(&self) -> InstanceId {
        self.instance_id
    }

    fn seq(&self) -> u64 {
        self.seq
    }

    fn set_seq(&mut self, seq: u64) {
        self.seq = seq;
    }
}
