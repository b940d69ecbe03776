//! Refresh tokens: a session whose access tokens are valid for minutes, and which its client goes on with by a refresh
//! token. Each use of a refresh token spends it and gives the next one; a token is known by its number, which the server
//! signs. A spent token that is presented again was copied, so it ends the session.

use std::cmp::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{EndReason, Revoked, SessionEvent, Sessions};
use crate::aggregate::{Command, CommandClass};
use crate::ids::SessionId;
use crate::timestamp::Timestamp;

/// How long a session lives on without a refresh.
pub const MAX_IDLE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long a session lives at most, however often it is refreshed.
pub const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long the token that was spent last is answered with its successor, because the answer may have been lost, or several
/// tabs of a browser may have presented it at once.
pub const GRACE: Duration = Duration::from_secs(10);

/// A refresh token was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refreshed {
    /// The session.
    pub session_id: SessionId,
    /// The number of the refresh token that is valid from now on. The first one has 0.
    pub token_number: u32,
    /// When the session ends if it is not refreshed again.
    pub expires_at: Timestamp,
}

/// The refresh token of a live session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefreshToken {
    /// When the session ends at the latest.
    pub until: Timestamp,
    /// The number of the valid one. Those before it are spent.
    pub number: u32,
    /// Since when it is valid.
    pub since: Timestamp,
}

/// When a session that is started or refreshed now ends without a further refresh.
#[must_use]
pub fn idle_end(now: Timestamp, until: Timestamp) -> Timestamp {
    now.after(MAX_IDLE).min(until)
}

/// Use a refresh token. It decides nothing if the token was spent a moment ago: its successor is still the valid one. A
/// token that was spent before that ends the session.
#[derive(Debug, Clone, Copy)]
pub struct RefreshSession {
    /// The session.
    pub session_id: SessionId,
    /// The number of the presented token.
    pub token_number: u32,
    /// The time.
    pub now: Timestamp,
}

/// The session has ended, or has no such refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the refresh token is not valid")]
pub struct InvalidRefreshToken;

impl Command for RefreshSession {
    type Aggregate = Sessions;
    type Rejection = InvalidRefreshToken;

    /// It begins nothing: without it, nobody could stop or delete anything in the reserve of the log, because their access
    /// token has expired and they can't sign in.
    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Sessions) -> Result<Option<SessionEvent>, InvalidRefreshToken> {
        let Self { session_id, token_number, now } = *self;
        if !state.is_live(session_id, now) {
            return Err(InvalidRefreshToken);
        }
        let valid = state.refresh_token(session_id).ok_or(InvalidRefreshToken)?;
        let successor = token_number.saturating_add(1);
        Ok(match token_number.cmp(&valid.number) {
            Ordering::Equal => {
                let expires_at = idle_end(now, valid.until);
                Some(SessionEvent::Refreshed(Refreshed { session_id, token_number: successor, expires_at }))
            }
            Ordering::Less if successor == valid.number && now < valid.since.after(GRACE) => None,
            Ordering::Less => {
                let reason = Some(EndReason::RefreshTokenReused);
                Some(SessionEvent::Revoked(Revoked { session_id, reason }))
            }
            // Such as one that was given before the log was restored from a backup.
            Ordering::Greater => return Err(InvalidRefreshToken),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::session::{Access, EndSessions, Ended, RevokeSession, Started, SuspendSessions, Suspended};
    use crate::testing::{at, given, many_cases, session};

    const DAY: i64 = 24 * 60 * 60;
    const IDLE: i64 = 7 * DAY;
    const AGE: i64 = 30 * DAY;

    /// A session that starts at second 1.
    fn started() -> SessionEvent {
        SessionEvent::Started(Started {
            session_id: session(1),
            expires_at: at(1 + IDLE),
            token: None,
            client: None,
            refresh_until: Some(at(1 + AGE)),
        })
    }

    fn refresh(token_number: u32, now: i64) -> RefreshSession {
        RefreshSession { session_id: session(1), token_number, now: at(now) }
    }

    fn refreshed(token_number: u32, expires: i64) -> SessionEvent {
        SessionEvent::Refreshed(Refreshed { session_id: session(1), token_number, expires_at: at(expires) })
    }

    fn reused() -> SessionEvent {
        SessionEvent::Revoked(Revoked { session_id: session(1), reason: Some(EndReason::RefreshTokenReused) })
    }

    #[test]
    fn refresh_gives_the_next_token_and_extends_the_session() {
        let sessions = given([started()]).when(refresh(0, 900)).then(refreshed(1, 900 + IDLE));
        assert_eq!(sessions.state.access(session(1), at(IDLE + 899)), Some(Access::SignIn));
        assert_eq!(sessions.state.access(session(1), at(IDLE + 900)), None);
        sessions.when(refresh(1, 1800)).then(refreshed(2, 1800 + IDLE));
    }

    /// The answer was lost, or several tabs refresh at once.
    #[test]
    fn refresh_with_the_token_that_was_spent_last_decides_nothing_within_the_grace() {
        let sessions = given([started()]).and_at(100, refreshed(1, 100 + IDLE));
        let sessions = sessions.when(refresh(0, 100)).then_nothing().when(refresh(0, 109)).then_nothing();
        assert_eq!(sessions.state.refresh_token(session(1)).unwrap().number, 1);
        let ended = sessions.when(refresh(0, 110)).then(reused());
        assert_eq!(ended.state.access(session(1), at(110)), None);
        ended.when(refresh(1, 111)).then_rejected(InvalidRefreshToken);
    }

    /// Within the grace, only the one that was spent last has a successor that is valid.
    #[test]
    fn refresh_with_an_older_token_ends_the_session_at_once() {
        let sessions = given([started()]).and_at(100, refreshed(1, 100 + IDLE)).and_at(101, refreshed(2, 101 + IDLE));
        sessions.clone().when(refresh(1, 102)).then_nothing();
        sessions.when(refresh(0, 102)).then(reused());
    }

    #[test]
    fn refresh_is_refused_when_the_session_was_idle_too_long_or_is_too_old() {
        given([started()]).when(refresh(0, IDLE)).then(refreshed(1, 2 * IDLE));
        given([started()]).when(refresh(0, IDLE + 1)).then_rejected(InvalidRefreshToken);
        let sessions = (1_u32..=4).fold(given([started()]), |sessions, n| {
            let now = i64::from(n) * (IDLE - 1);
            sessions.when(refresh(n - 1, now)).then(refreshed(n, (now + IDLE).min(1 + AGE)))
        });
        sessions.when(refresh(4, AGE + 1)).then_rejected(InvalidRefreshToken);
    }

    #[test]
    fn refresh_never_extends_a_session_beyond_its_end() {
        let sessions = given([started()]).and_at(AGE - DAY, refreshed(1, 1 + AGE));
        sessions.when(refresh(1, AGE)).then(refreshed(2, 1 + AGE));
    }

    #[test]
    fn refresh_of_a_session_that_was_ended_or_has_no_refresh_token_is_refused() {
        let is_refused = |sessions: crate::testing::Given<Sessions>| {
            sessions.when(refresh(0, 50)).then_rejected(InvalidRefreshToken);
        };
        let revoked = SessionEvent::Revoked(Revoked { session_id: session(1), reason: None });
        is_refused(given([started()]).when(RevokeSession { session_id: session(1) }).then(revoked));
        let ended = SessionEvent::Ended(Ended { session_ids: vec![session(1)] });
        is_refused(given([started()]).when(EndSessions { except: None, tokens: false }).then(ended));
        let suspended = SessionEvent::Suspended(Suspended { session_ids: vec![session(1)] });
        is_refused(given([started()]).when(SuspendSessions).then(suspended));
        let SessionEvent::Started(mut without) = started() else { unreachable!() };
        without.refresh_until = None;
        is_refused(given([SessionEvent::Started(without)]));
        is_refused(given([]));
        given([started()]).when(refresh(1, 50)).then_rejected(InvalidRefreshToken);
    }

    /// A command that presents a token, by its number, some seconds later.
    fn presents() -> impl Strategy<Value = Vec<(u32, i64)>> {
        prop::collection::vec((0_u32..6, prop_oneof![0_i64..15, 0_i64..3 * DAY]), 0..30)
    }

    proptest! {
        #![proptest_config(many_cases())]

        /// Whatever is presented when: a number is given out once, a session that ended stays so, none outlives its
        /// end, and who presents a spent token after the grace ends the session.
        #[test]
        fn refresh_tokens_are_given_out_once_and_reuse_ends_the_session(presents in presents()) {
            let mut sessions = given::<Sessions>([started()]);
            let (mut now, mut given_out, mut is_over) = (1, BTreeSet::from([0]), false);
            for (token_number, elapsed) in presents {
                now += elapsed;
                let before = sessions.state.refresh_token(session(1)).copied();
                let decided = refresh(token_number, now).decide(&sessions.state);
                prop_assert!(!is_over || decided.is_err());
                match &decided {
                    Ok(Some(SessionEvent::Refreshed(event))) => {
                        prop_assert_eq!(Some(token_number), before.map(|valid| valid.number));
                        prop_assert!(given_out.insert(event.token_number));
                        prop_assert!(event.expires_at <= at(1 + AGE) && event.expires_at <= at(now + IDLE));
                    }
                    Ok(None) => {
                        let valid = before.unwrap();
                        prop_assert!(token_number + 1 == valid.number && at(now) < valid.since.after(GRACE));
                    }
                    Ok(Some(_)) => {
                        prop_assert!(given_out.contains(&token_number) && token_number < before.unwrap().number);
                        is_over = true;
                    }
                    Err(InvalidRefreshToken) => {
                        let is_live = sessions.state.is_live(session(1), at(now));
                        prop_assert!(!is_live || !given_out.contains(&token_number));
                    }
                }
                if let Ok(Some(event)) = decided {
                    sessions = sessions.and_at(now, event);
                }
                prop_assert!(!sessions.state.is_live(session(1), at(1 + AGE)));
            }
        }
    }
}
