//! Suspends the sessions of a disabled account, and lets them start again.

use std::convert::Infallible;

use super::decide::MAX_SESSIONS_PER_EVENT;
use super::{Resumed, SessionEvent, Sessions, Suspended};
use crate::aggregate::{Command, CommandClass};

/// End all sessions, and let none start.
#[derive(Debug, Clone, Copy)]
pub struct SuspendSessions;

impl Command for SuspendSessions {
    type Aggregate = Sessions;
    type Rejection = Infallible;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Sessions) -> Result<Option<SessionEvent>, Infallible> {
        let session_ids = state.live.keys().copied().take(MAX_SESSIONS_PER_EVENT).collect();
        Ok((!state.suspended && !state.closed).then_some(SessionEvent::Suspended(Suspended { session_ids })))
    }
}

/// Let sessions start again.
#[derive(Debug, Clone, Copy)]
pub struct ResumeSessions;

impl Command for ResumeSessions {
    type Aggregate = Sessions;
    type Rejection = Infallible;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Sessions) -> Result<Option<SessionEvent>, Infallible> {
        Ok(state.suspended.then_some(SessionEvent::Resumed(Resumed {})))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{CloseSessions, Closed, StartRejected, StartSession, Started};
    use crate::testing::{at, given, session};

    fn started(n: u128) -> Started {
        Started { session_id: session(n), expires_at: at(100), token: None, client: None, refresh_until: None }
    }

    #[test]
    fn sessions_suspended_end_and_none_starts_until_they_are_resumed() {
        let suspended = Suspended { session_ids: vec![session(1), session(2)] };
        let sessions = given([SessionEvent::Started(started(1)), SessionEvent::Started(started(2))])
            .when(ResumeSessions)
            .then_nothing()
            .when(SuspendSessions)
            .then(SessionEvent::Suspended(suspended))
            .when(SuspendSessions)
            .then_nothing()
            .when(StartSession(started(3)))
            .then_rejected(StartRejected::Suspended);
        assert!([1, 2].iter().all(|n| !sessions.state.is_live(session(*n), at(50))));
        let sessions = sessions
            .when(ResumeSessions)
            .then(SessionEvent::Resumed(Resumed {}))
            .when(StartSession(started(3)))
            .then(SessionEvent::Started(started(3)));
        assert!([1, 2, 3].map(|n| sessions.state.is_live(session(n), at(50))) == [false, false, true]);
    }

    #[test]
    fn sessions_suspended_are_closed_when_the_user_is_erased() {
        let sessions = given([SessionEvent::Suspended(Suspended { session_ids: vec![] })])
            .when(CloseSessions)
            .then(SessionEvent::Closed(Closed { session_ids: vec![] }))
            .when(SuspendSessions)
            .then_nothing()
            .when(ResumeSessions)
            .then_nothing();
        sessions.when(StartSession(started(1))).then_rejected(StartRejected::Closed);
    }

    /// The event stays below the broker's limit; the fold ends also those that it does not name.
    #[test]
    fn sessions_suspended_beyond_what_one_event_names_all_end() {
        let many = MAX_SESSIONS_PER_EVENT as u128 + 2;
        let sessions = given((0..many).map(|n| {
            SessionEvent::Started(Started {
                session_id: session(n),
                expires_at: at(1_000_000),
                token: None,
                client: None,
                refresh_until: None,
            })
        }));
        let session_ids = (0..many - 2).map(session).collect();
        let sessions = sessions.when(SuspendSessions).then(SessionEvent::Suspended(Suspended { session_ids }));
        assert!(!sessions.state.is_live(session(many - 1), at(50)));
    }
}
