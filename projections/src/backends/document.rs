//! The document of one backend. Personal values are plain, and `null` once the principal is erased.

use dockhost_domain::backend::{ConnectionState, Drain};
use dockhost_domain::ids::BackendId;
use dockhost_domain::labels::Labels;
use dockhost_domain::names::Username;
use dockhost_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::{Document, StoredModel, View};

/// The read model `backends`.
#[derive(Debug, Clone, Copy)]
pub struct Backends;

impl StoredModel for Backends {
    const NAME: &'static str = "backends";
    const FOLD_VERSION: u32 = 4;
    const INDEXES: &'static [&'static [&'static str]] = &[];

    type Document = BackendDocument;

    fn view() -> View {
        super::view::view()
    }
}

/// A backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendDocument {
    /// The backend's id.
    #[serde(rename = "_id")]
    pub backend_id: BackendId,
    /// The username.
    pub username: Option<Username>,
    /// The lab or room of the machine.
    pub lab_name: Option<String>,
    /// The operating system, as typed.
    pub operating_system: Option<String>,
    /// The most containers that it may have.
    pub max_containers: u32,
    /// How many it asked for when it was registered; 0 in documents of version 1.
    #[serde(default)]
    pub requested_max_containers: u32,
    /// Whether an administrator has to approve it before it gets instances.
    #[serde(default)]
    pub awaits_approval: bool,
    /// Since when an administrator keeps new instances away from it; `None` unless one does.
    #[serde(default)]
    pub cordoned_at: Option<Timestamp>,
    /// The drain that was not undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
    /// Since when its API key is revoked; `None` unless it is.
    #[serde(default)]
    pub key_revoked_at: Option<Timestamp>,
    /// When an administrator removed it from the fleet.
    #[serde(default)]
    pub removed_at: Option<Timestamp>,
    /// Whether its agent is connected.
    pub status: ConnectionState,
    /// The address of its containers' ports; `None` until its agent has connected.
    pub address: Option<String>,
    /// `docker`, `podman` or `simulated`; `None` until its agent has connected.
    pub runtime: Option<String>,
    /// The agent's version; `None` until it has connected.
    pub agent_version: Option<String>,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// When it last connected.
    pub connected_at: Option<Timestamp>,
    /// When it was lost; `None` unless it is.
    pub lost_at: Option<Timestamp>,
    /// The sequence of the last event in it.
    pub seq: u64,
}

impl Document for BackendDocument {
    type Id = BackendId;

    fn id(&self) -> BackendId {
        self.backend_id
    }

    fn seq(&self) -> u64 {
        self.seq
    }

    fn set_seq(&mut self, seq: u64) {
        self.seq = seq;
    }
}
