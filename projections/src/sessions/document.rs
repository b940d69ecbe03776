//! The document of one session.

use dockhost_domain::ids::{PrincipalId, SessionId};
use dockhost_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::{Document, StoredModel};

/// The read model `sessions`.
#[derive(Debug, Clone, Copy)]
pub struct Sessions;

impl StoredModel for Sessions {
    const NAME: &'static str = "sessions";
    const FOLD_VERSION: u32 = 1;
    const INDEXES: &'static [&'static [&'static str]] = &[&["principalId", "startedAt"]];

    type Document = SessionDocument;
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionDocument {
    /// The `sid` in its token.
    #[serde(rename = "_id")]
    pub session_id: SessionId,
    /// Who signed in: a user or a backend.
    pub principal_id: PrincipalId,
    /// When.
    pub started_at: Timestamp,
    /// When its token ends.
    pub expires_at: Timestamp,
    /// When it was ended before that.
    pub revoked_at: Option<Timestamp>,
    /// The last event folded in.
    pub seq: u64,
}

impl Document for SessionDocument {
    type Id = SessionId;

    fn id(&self) -> SessionId {
        self.session_id
    }

    fn seq(&self) -> u64 {
        self.seq
    }

    fn set_seq(&mut self, seq: u64) {
        self.seq = seq;
    }
}
