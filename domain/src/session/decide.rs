//! Decisions: sign in, sign out. In: the session's id. Out: `started` or `revoked`; signing out twice is fine.

use std::convert::Infallible;

use super::{Revoked, SessionEvent, Sessions, Started};
use crate::aggregate::Command;
use crate::ids::SessionId;

/// Begin this session.
#[derive(Debug, Clone)]
pub struct StartSession(pub Started);

/// A fresh session's id is in use; ids are random, so this is a fault of the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this session exists")]
pub struct SessionExists;

impl Command for StartSession {
    type Aggregate = Sessions;
    type Rejection = SessionExists;

    fn decide(&self, state: &Sessions) -> Result<Option<SessionEvent>, SessionExists> {
        if state.live.contains_key(&self.0.session_id) {
            return Err(SessionExists);
        }
        Ok(Some(SessionEvent::Started(self.0.clone())))
    }
}

/// End this session.
#[derive(Debug, Clone, Copy)]
pub struct RevokeSession {
    /// Which one.
    pub session_id: SessionId,
}

impl Command for RevokeSession {
    type Aggregate = Sessions;
    type Rejection = Infallible;

    fn decide(&self, state: &Sessions) -> Result<Option<SessionEvent>, Infallible> {
        let session_id = self.session_id;
        Ok(state.live.contains_key(&session_id).then_some(SessionEvent::Revoked(Revoked { session_id })))
    }
}
