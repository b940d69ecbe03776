//! The document of one machine. Personal values are plain here; they are `null` once the principal was erased.

use dockhost_domain::backend::ConnectionState;
use dockhost_domain::ids::BackendId;
use dockhost_domain::names::Username;
use dockhost_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::{Document, StoredModel};

/// The read model `backends`.
#[derive(Debug, Clone, Copy)]
pub struct Backends;

impl StoredModel for Backends {
    const NAME: &'static str = "backends";
    const FOLD_VERSION: u32 = 1;
    const INDEXES: &'static [&'static [&'static str]] = &[];

    type Document = BackendDocument;
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendDocument {
    /// Which one.
    #[serde(rename = "_id")]
    pub backend_id: BackendId,
    /// Its name.
    pub username: Option<Username>,
    /// The lab or room that it stands in.
    pub lab_name: Option<String>,
    /// As the registrant named it.
    pub operating_system: Option<String>,
    /// Containers that it takes at most.
    pub max_containers: u32,
    /// Whether it is there.
    pub status: ConnectionState,
    /// Where clients reach the ports of its containers; none until its agent was heard.
    pub address: Option<String>,
    /// `docker`, `podman` or `simulated`; none until its agent was heard.
    pub runtime: Option<String>,
    /// Its agent's version; none until it was heard.
    pub agent_version: Option<String>,
    /// When it was registered.
    pub enrolled_at: Timestamp,
    /// Since when it is there, or was there before it was lost.
    pub connected_at: Option<Timestamp>,
    /// Since when it is lost; none while it isn't.
    pub lost_at: Option<Timestamp>,
    /// The last event folded in.
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
