//! The document of one session.

use dockhost_domain::ids::{PrincipalId, SessionId};
use dockhost_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::{Document, StoredModel, View};

/// The read model `sessions`.
#[derive(Debug, Clone, Copy)]
pub struct Sessions;

impl StoredModel for Sessions {
    const NAME: &'static str = "sessions";
    const FOLD_VERSION: u32 = 3;
    // The second one has all that the list of everybody's sessions selects and sorts by.
    const INDEXES: &'static [&'static [&'static str]] =
        &[&["principalId", "startedAt"], &["revokedAt", "_id", "expiresAt"]];

    type Document = SessionDocument;

    fn view() -> View {
        super::view::view()
    }
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionDocument {
    /// The session's id, `sid` in its token.
    #[serde(rename = "_id")]
    pub session_id: SessionId,
    /// The user or backend that signed in.
    pub principal_id: PrincipalId,
    /// Whether it is an API token, and no sign-in.
    #[serde(default)]
    pub is_token: bool,
    /// When it started.
    pub started_at: Timestamp,
    /// When its token expires; if it has a refresh token, when it ends if it is not refreshed.
    pub expires_at: Timestamp,
    /// When it was revoked or closed before that.
    pub revoked_at: Option<Timestamp>,
    /// The sequence of the last event in it.
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
