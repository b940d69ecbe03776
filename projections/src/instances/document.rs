//! The document of one instance: the domain's state, and what is shown of it.
//!
//! The state is stored whole, so that the next event is applied by the domain's own rule and not by a second one here;
//! the members around it are read off it after each event, for queries and for people who look into the database.

use dockhost_domain::ids::{BackendId, InstanceId, UserId};
use dockhost_domain::names::InstanceName;
use dockhost_domain::tenancy::{Instance, Progress, Status};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::{DesiredState, Ports};
use serde::{Deserialize, Serialize};

use crate::store::{Document, StoredModel};

/// The read model `instances`.
#[derive(Debug, Clone, Copy)]
pub struct Instances;

impl StoredModel for Instances {
    const NAME: &'static str = "instances";
    const FOLD_VERSION: u32 = 2;
    const INDEXES: &'static [&'static [&'static str]] = &[&["userId", "createdAt"], &["userId", "name"]];

    type Document = InstanceDocument;
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceDocument {
    /// Which one.
    #[serde(rename = "_id")]
    pub instance_id: InstanceId,
    /// Whose.
    pub user_id: UserId,
    /// Its name; none once it is deleted.
    pub name: Option<InstanceName>,
    /// What the API shows while its machine is heard; see [`Instance::status_on`] for when it isn't.
    pub status: Status,
    /// What it should be.
    pub wanted: DesiredState,
    /// Rises with each change of what is wanted.
    pub generation: u32,
    /// Rises when the container must be a new one.
    pub placement: u32,
    /// The machine that it is on; none once it has none.
    pub backend_id: Option<BackendId>,
    /// The runtime's id of its container; none until one is known.
    pub container_id: Option<String>,
    /// Where its ports are published on the machine; none until known.
    pub ports: Option<Ports>,
    /// SHA-256 fingerprints of its SSH host keys; empty until known.
    pub host_keys: Vec<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its user or its container last changed something.
    pub last_activity: Timestamp,
    /// When the present state must end, if it is transient.
    pub deadline: Option<Timestamp>,
    /// What went wrong, when it failed: one sentence.
    pub failure: Option<String>,
    /// The state that it is folded on.
    pub state: Instance,
    /// The last event folded in.
    pub seq: u64,
}

impl InstanceDocument {
    /// What is shown of a state. Nobody asks for what the user of a deleted instance had typed, so it is not kept: and
    /// when a user is erased, this makes their documents the same with and without their key.
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
            failure: match &state.progress {
                Progress::Failed { failure } => Some(failure.reason.to_string()),
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
