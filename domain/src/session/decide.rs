//! Starts and ends sessions.

use std::convert::Infallible;

use super::{Closed, Ended, Revoked, SessionEvent, Sessions, Started};
use crate::aggregate::{Command, CommandClass};
use crate::ids::SessionId;

/// Start a session.
#[derive(Debug, Clone)]
pub struct StartSession(pub Started);

/// Why a session cannot start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartRejected {
    /// The session's id is in use; ids are random, so this is a bug of the caller.
    #[error("the session already exists")]
    Exists,
    /// The principal was erased.
    #[error("the principal was erased")]
    Closed,
    /// The account is disabled.
    #[error("the account is disabled")]
    Suspended,
}

impl Command for StartSession {
    type Aggregate = Sessions;
    type Rejection = StartRejected;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Sessions) -> Result<Option<SessionEvent>, StartRejected> {
        if state.closed {
            return Err(StartRejected::Closed);
        }
        if state.suspended {
            return Err(StartRejected::Suspended);
        }
        if state.live.contains_key(&self.0.session_id) {
            return Err(StartRejected::Exists);
        }
        Ok(Some(SessionEvent::Started(self.0.clone())))
    }
}

/// End a session; nothing if it has ended.
#[derive(Debug, Clone, Copy)]
pub struct RevokeSession {
    /// The session.
    pub session_id: SessionId,
}

impl Command for RevokeSession {
    type Aggregate = Sessions;
    type Rejection = Infallible;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Sessions) -> Result<Option<SessionEvent>, Infallible> {
        let session_id = self.session_id;
        Ok(state.live.contains_key(&session_id).then_some(SessionEvent::Revoked(Revoked { session_id, reason: None })))
    }
}

/// Keeps the size of `ended` and `closed` well below the broker's limit.
pub(super) const MAX_SESSIONS_PER_EVENT: usize = 5000;

/// End all sign-ins, except at most one, and all API tokens if they shall end too. The caller repeats it until it decides nothing: each call ends at most
/// [`MAX_SESSIONS_PER_EVENT`].
#[derive(Debug, Clone, Copy)]
pub struct EndSessions {
    /// The session that stays.
    pub except: Option<SessionId>,
    /// Whether API tokens end too.
    pub tokens: bool,
}

impl Command for EndSessions {
    type Aggregate = Sessions;
    type Rejection = Infallible;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Sessions) -> Result<Option<SessionEvent>, Infallible> {
        let others = state.live.keys().copied().filter(|session| Some(*session) != self.except);
        let ending = others.filter(|session| self.tokens || !state.is_token(*session));
        let session_ids: Vec<_> = ending.take(MAX_SESSIONS_PER_EVENT).collect();
        Ok((!session_ids.is_empty()).then_some(SessionEvent::Ended(Ended { session_ids })))
    }
}

/// End all sessions for good. The caller repeats it until it decides nothing: above [`MAX_SESSIONS_PER_EVENT`], each
/// call revokes one session.
#[derive(Debug, Clone, Copy)]
pub struct CloseSessions;

impl Command for CloseSessions {
    type Aggregate = Sessions;
    type Rejection = Infallible;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Sessions) -> Result<Option<SessionEvent>, Infallible> {
        Ok(match state.live.keys().next() {
            _ if state.closed => None,
            Some(first) if state.live.len() > MAX_SESSIONS_PER_EVENT => {
                Some(SessionEvent::Revoked(Revoked { session_id: *first, reason: None }))
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
    use crate::testing::{at, given, many_cases, session};

    fn started(n: u128, expires: i64) -> Started {
        Started { session_id: session(n), expires_at: at(expires), token: None, client: None, refresh_until: None }
    }

    fn revoke(n: u128) -> RevokeSession {
        RevokeSession { session_id: session(n) }
    }

    fn revoked(n: u128) -> SessionEvent {
        SessionEvent::Revoked(Revoked { session_id: session(n), reason: None })
    }

    #[test]
    fn session_is_live_until_it_expires() {
        let sessions = given([]).when(StartSession(started(1, 100))).then(SessionEvent::Started(started(1, 100))).state;
        assert!(sessions.is_live(session(1), at(99)));
        assert!(!sessions.is_live(session(1), at(100)));
        assert!(!sessions.is_live(session(2), at(99)));
    }

    #[test]
    fn session_revoked_ends_and_others_stay_live() {
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
    fn sessions_ended_but_one_leaves_that_one() {
        let all = [1, 2, 3].map(|n| SessionEvent::Started(started(n, 100)));
        let sessions = given(all)
            .when(EndSessions { except: Some(session(2)), tokens: true })
            .then(SessionEvent::Ended(Ended { session_ids: vec![session(1), session(3)] }))
            .when(EndSessions { except: Some(session(2)), tokens: true })
            .then_nothing()
            .state;
        assert!([1, 2, 3].map(|n| sessions.is_live(session(n), at(50))) == [false, true, false]);
    }

    #[test]
    fn sessions_ended_can_start_again() {
        let sessions = given([SessionEvent::Started(started(1, 100))])
            .when(EndSessions { except: None, tokens: true })
            .then(SessionEvent::Ended(Ended { session_ids: vec![session(1)] }))
            .when(StartSession(started(2, 100)))
            .then(SessionEvent::Started(started(2, 100)))
            .state;
        assert!(!sessions.is_closed() && sessions.is_live(session(2), at(50)));
    }

    #[test]
    fn session_is_started_once() {
        given([SessionEvent::Started(started(1, 100))])
            .when(StartSession(started(1, 200)))
            .then_rejected(StartRejected::Exists);
    }

    #[test]
    fn session_expired_is_removed_when_the_next_starts() {
        let both = [SessionEvent::Started(started(1, 100)), SessionEvent::Started(started(2, 300))];
        let sessions = given::<Sessions>(both).and_at(100, SessionEvent::Started(started(3, 300)));
        assert_eq!(sessions.state.live.keys().copied().collect::<Vec<_>>(), [session(2), session(3)]);
        sessions.when(revoke(1)).then_nothing();
    }

    #[test]
    fn sessions_closed_end_and_reject_new_ones() {
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
        assert!(!late.state.is_live(session(4), at(50)), "a session in the log after `closed`");
    }

    #[test]
    fn sessions_above_the_limit_are_revoked_one_by_one() {
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
        #![proptest_config(many_cases())]

        /// Removing expired sessions has no visible effect: a list of all sessions gives the same results.
        #[test]
        fn session_is_live_exactly_from_its_start_to_its_end(
            commands in prop::collection::vec((0_u128..6, prop::option::of(0_i64..20), 0_i64..5), 0..40),
        ) {
            let mut sessions = given([]);
            let mut all: BTreeMap<u128, i64> = BTreeMap::new();
            let mut now = 0;
            for (who, duration, elapsed) in commands {
                now += elapsed;
                let event = match duration {
                    Some(duration) => StartSession(started(who, now + duration)).decide(&sessions.state).ok().flatten(),
                    None => revoke(who).decide(&sessions.state).unwrap(),
                };
                match &event {
                    Some(SessionEvent::Started(_)) => drop(all.insert(who, now + duration.unwrap_or(0))),
                    Some(SessionEvent::Revoked(_)) => drop(all.remove(&who)),
                    // Rejected, or nothing to revoke.
                    Some(_) | None => {}
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
