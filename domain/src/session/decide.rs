//! Decisions: sign in, sign out, end all. In: the session's id. Out: `started`, `revoked` or `closed`; signing out twice
//! is fine.

use std::convert::Infallible;

use super::{Closed, Revoked, SessionEvent, Sessions, Started};
use crate::aggregate::Command;
use crate::ids::SessionId;

/// Begin this session.
#[derive(Debug, Clone)]
pub struct StartSession(pub Started);

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartRejected {
    /// A fresh session's id is in use; ids are random, so this is a fault of the caller.
    #[error("this session exists")]
    Exists,
    /// The principal is gone.
    #[error("no session begins here any more")]
    Closed,
}

impl Command for StartSession {
    type Aggregate = Sessions;
    type Rejection = StartRejected;

    fn decide(&self, state: &Sessions) -> Result<Option<SessionEvent>, StartRejected> {
        if state.closed {
            return Err(StartRejected::Closed);
        }
        if state.live.contains_key(&self.0.session_id) {
            return Err(StartRejected::Exists);
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

/// Sessions that one event names: it must stay well below what the broker takes.
const MAX_SESSIONS_PER_EVENT: usize = 5000;

/// End all sessions, for good. Asked again until it gives nothing: of very many, some are revoked one by one first.
#[derive(Debug, Clone, Copy)]
pub struct CloseSessions;

impl Command for CloseSessions {
    type Aggregate = Sessions;
    type Rejection = Infallible;

    fn decide(&self, state: &Sessions) -> Result<Option<SessionEvent>, Infallible> {
        Ok(match state.live.keys().next() {
            _ if state.closed => None,
            Some(first) if state.live.len() > MAX_SESSIONS_PER_EVENT => {
                Some(SessionEvent::Revoked(Revoked { session_id: *first }))
            }
            _ => Some(SessionEvent::Closed(Closed { session_ids: state.live.keys().copied().collect() })),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::{at, given, session, thorough};

    fn started(n: u128, expires: i64) -> Started {
        Started { session_id: session(n), expires_at: at(expires) }
    }

    fn revoke(n: u128) -> RevokeSession {
        RevokeSession { session_id: session(n) }
    }

    fn revoked(n: u128) -> SessionEvent {
        SessionEvent::Revoked(Revoked { session_id: session(n) })
    }

    #[test]
    fn a_session_counts_until_it_expires() {
        let sessions = given([]).when(StartSession(started(1, 100))).then(SessionEvent::Started(started(1, 100))).state;
        assert!(sessions.is_live(session(1), at(99)));
        assert!(!sessions.is_live(session(1), at(100)));
        assert!(!sessions.is_live(session(2), at(99)));
    }

    #[test]
    fn a_session_counts_until_it_is_revoked_and_the_others_go_on() {
        let sessions = given([SessionEvent::Started(started(1, 100)), SessionEvent::Started(started(2, 100))])
            .when(revoke(1))
            .then(revoked(1))
            .when(revoke(1))
            .then_nothing()
            .when(revoke(3))
            .then_nothing()
            .state;
        assert!(!sessions.is_live(session(1), at(50)));
        assert!(sessions.is_live(session(2), at(50)));
    }

    #[test]
    fn a_session_is_started_once() {
        given([SessionEvent::Started(started(1, 100))])
            .when(StartSession(started(1, 200)))
            .then_rejected(StartRejected::Exists);
    }

    #[test]
    fn an_expired_session_is_forgotten_when_the_next_begins() {
        let both = [SessionEvent::Started(started(1, 100)), SessionEvent::Started(started(2, 300))];
        let sessions = given::<Sessions>(both).and_at(100, SessionEvent::Started(started(3, 300)));
        assert_eq!(sessions.state.live.keys().copied().collect::<Vec<_>>(), [session(2), session(3)]);
        sessions.when(revoke(1)).then_nothing();
    }

    #[test]
    fn closed_sessions_end_together_and_none_begins_any_more() {
        let session_ids = vec![session(1), session(2)];
        let sessions = given([SessionEvent::Started(started(1, 100)), SessionEvent::Started(started(2, 100))])
            .when(CloseSessions)
            .then(SessionEvent::Closed(Closed { session_ids }))
            .when(CloseSessions)
            .then_nothing()
            .when(revoke(1))
            .then_nothing()
            .when(StartSession(started(3, 100)))
            .then_rejected(StartRejected::Closed);
        assert!(!sessions.state.is_live(session(1), at(50)) && sessions.state.is_closed());
        let late = sessions.and([SessionEvent::Started(started(4, 100))]);
        assert!(!late.state.is_live(session(4), at(50)), "whatever the log holds");
    }

    #[test]
    fn of_very_many_sessions_some_are_ended_one_by_one() {
        let many = MAX_SESSIONS_PER_EVENT as u128 + 2;
        let mut sessions = given((0..many).map(|n| SessionEvent::Started(started(n, 1_000_000))));
        for n in 0..2 {
            sessions = sessions.when(CloseSessions).then(revoked(n));
        }
        let session_ids = (2..many).map(session).collect();
        sessions
            .when(CloseSessions)
            .then(SessionEvent::Closed(Closed { session_ids }))
            .when(CloseSessions)
            .then_nothing();
    }

    proptest! {
        #![proptest_config(thorough())]

        /// Forgetting changes nothing that anybody can see: a plain list of all sessions ever gives the same answers.
        #[test]
        fn a_session_counts_exactly_from_its_start_to_its_end(
            asked in prop::collection::vec((0_u128..6, prop::option::of(0_i64..20), 0_i64..5), 0..40),
        ) {
            let mut sessions = given([]);
            let mut all: BTreeMap<u128, i64> = BTreeMap::new();
            let mut now = 0;
            for (who, lasts, passes) in asked {
                now += passes;
                let event = match lasts {
                    Some(lasts) => StartSession(started(who, now + lasts)).decide(&sessions.state).ok().flatten(),
                    None => revoke(who).decide(&sessions.state).unwrap(),
                };
                match &event {
                    Some(SessionEvent::Started(_)) => drop(all.insert(who, now + lasts.unwrap_or(0))),
                    Some(SessionEvent::Revoked(_)) => drop(all.remove(&who)),
                    // Refused because it is there, or ended because it isn't: nothing changes.
                    Some(SessionEvent::Closed(_)) | None => {}
                }
                sessions = event.into_iter().fold(sessions, |sessions, event| sessions.and_at(now, event));
                for who in 0..6 {
                    let expected = all.get(&who).is_some_and(|end| now < *end);
                    prop_assert_eq!(sessions.state.is_live(session(who), at(now)), expected, "session {} at {}", who, now);
                }
            }
        }
    }
}
