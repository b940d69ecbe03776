//! The sessions of a principal.

mod decide;
mod suspend;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Meta};
use crate::event::Event;
use crate::ids::{PrincipalId, SessionId};
use crate::subject::AggregateId;
use crate::timestamp::Timestamp;

pub use decide::{CloseSessions, EndSessions, RevokeSession, StartRejected, StartSession};
pub use suspend::{ResumeSessions, SuspendSessions};

/// The events of a principal's sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum SessionEvent {
    /// The principal signed in.
    #[serde(rename = "dockhost.session.started.v1")]
    Started(Started),
    /// The principal signed out.
    #[serde(rename = "dockhost.session.revoked.v1")]
    Revoked(Revoked),
    /// Several sessions ended at once, because the principal, or an administrator, ended them.
    #[serde(rename = "dockhost.session.ended.v1")]
    Ended(Ended),
    /// The account was disabled: all sessions end, and no new one can start until it is enabled again.
    #[serde(rename = "dockhost.session.suspended.v1")]
    Suspended(Suspended),
    /// The account was enabled: sessions can start again.
    #[serde(rename = "dockhost.session.resumed.v1")]
    Resumed(Resumed),
    /// The principal was erased: all sessions end, and no new one can start.
    #[serde(rename = "dockhost.session.closed.v1")]
    Closed(Closed),
}

/// The principal signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    /// The new session.
    pub session_id: SessionId,
    /// When its token expires.
    pub expires_at: Timestamp,
}

/// The principal signed out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revoked {
    /// The ended session.
    pub session_id: SessionId,
}

/// Several sessions ended at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// The ended sessions.
    pub session_ids: Vec<SessionId>,
}

/// The account was disabled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Suspended {
    /// The sessions that end. Of very many, only the first are named, but all end.
    pub session_ids: Vec<SessionId>,
}

/// The account was enabled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resumed {}

/// The principal was erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Closed {
    /// The sessions that end.
    pub session_ids: Vec<SessionId>,
}

/// The live sessions. Expired ones are removed when the next one starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sessions {
    live: BTreeMap<SessionId, Timestamp>,
    closed: bool,
    #[serde(default)]
    suspended: bool,
}

impl Sessions {
    /// Whether a token of this session is valid.
    #[must_use]
    pub fn is_live(&self, session: SessionId, now: Timestamp) -> bool {
        self.live.get(&session).is_some_and(|expires_at| now < *expires_at)
    }

    /// The sessions that have not been ended, also if their tokens have expired.
    pub fn ids(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.live.keys().copied()
    }

    /// Whether all sessions have ended for good.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }
}

impl Aggregate for Sessions {
    type Id = PrincipalId;
    type Event = SessionEvent;

    const FOLD_DIGESTS: &'static [&'static str] = &[
        "b23191970bbcd9289a32ece1e96b7fb023f55fd89eda628c08babc1e12a6318d",
        "aa7b9df8bc3f58d64b8ab3294b96aa95d94e7165d6875d37b80e0af63b7ad0df",
        "b66dd114b33ef71381e83521710c4315f2bf1578f0b205281451e66a553e37d8",
    ];

    fn subject(id: PrincipalId) -> AggregateId {
        AggregateId::Session(id)
    }

    fn event(event: &Event) -> Option<&SessionEvent> {
        if let Event::Session(event) = event { Some(event) } else { None }
    }

    fn evolve(&mut self, event: &SessionEvent, meta: &Meta) {
        match event {
            // `decide` rejects this, but a fold cannot fail.
            SessionEvent::Started(_) if self.closed || self.suspended => {}
            SessionEvent::Started(started) => {
                self.live.retain(|_, expires_at| meta.time < *expires_at);
                self.live.insert(started.session_id, started.expires_at);
            }
            SessionEvent::Revoked(revoked) => {
                self.live.remove(&revoked.session_id);
            }
            SessionEvent::Ended(ended) => {
                self.live.retain(|session, _| !ended.session_ids.contains(session));
            }
            SessionEvent::Closed(_) => *self = Self { live: BTreeMap::new(), closed: true, suspended: false },
            SessionEvent::Suspended(_) => *self = Self { live: BTreeMap::new(), suspended: !self.closed, ..*self },
            SessionEvent::Resumed(_) => self.suspended = false,
        }
    }
}
