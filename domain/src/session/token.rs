//! API tokens: sessions with a name and a scope, which their user makes and revokes. A token ends like a session.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Revoked, SessionEvent, Sessions, StartRejected, StartSession, Started};
use crate::aggregate::{Command, CommandClass};
use crate::ids::SessionId;
use crate::names::DisplayName;
use crate::personal::Personal;
use crate::timestamp::Timestamp;

/// The most API tokens of one user that are valid at the same time.
pub const MAX_TOKENS: usize = 100;

/// What an API token may do; each scope includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Queries.
    Read,
    /// Commands on instances.
    Instances,
    /// All that the user may do but what needs a sign-in.
    All,
}

impl Scope {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Instances => "instances",
            Self::All => "all",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What distinguishes an API token from a sign-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenDetails {
    /// The user's name for it. Names may repeat.
    pub name: Personal<DisplayName>,
    /// What it may do.
    pub scope: Scope,
}

/// An API token that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiToken {
    /// Its name and scope.
    #[serde(flatten)]
    pub details: TokenDetails,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Make an API token.
#[derive(Debug, Clone)]
pub struct CreateToken {
    /// The session of the token.
    pub session_id: SessionId,
    /// Until when it is valid.
    pub expires_at: Timestamp,
    /// Its name and scope.
    pub details: TokenDetails,
    /// The time, by which older tokens have expired.
    pub now: Timestamp,
}

/// Why no token is made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateTokenRejected {
    /// The user has as many as they may have.
    #[error("you have {MAX_TOKENS} valid tokens; revoke some first")]
    TooMany,
    /// No session can start.
    #[error(transparent)]
    NoSession(#[from] StartRejected),
}

impl Command for CreateToken {
    type Aggregate = Sessions;
    type Rejection = CreateTokenRejected;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Sessions) -> Result<Option<SessionEvent>, CreateTokenRejected> {
        if state.tokens(self.now).count() >= MAX_TOKENS {
            return Err(CreateTokenRejected::TooMany);
        }
        let Self { session_id, expires_at, details, .. } = self.clone();
        Ok(StartSession(Started { session_id, expires_at, token: Some(details), client: None, refresh_until: None })
            .decide(state)?)
    }
}

/// Revoke an API token.
#[derive(Debug, Clone, Copy)]
pub struct RevokeToken {
    /// The session of the token.
    pub session_id: SessionId,
}

/// There is no such token, or it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such token")]
pub struct NoSuchToken;

impl Command for RevokeToken {
    type Aggregate = Sessions;
    type Rejection = NoSuchToken;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Sessions) -> Result<Option<SessionEvent>, NoSuchToken> {
        let session_id = self.session_id;
        if state.tokens.contains_key(&session_id) {
            Ok(Some(SessionEvent::Revoked(Revoked { session_id, reason: None })))
        } else {
            Err(NoSuchToken)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Access, CloseSessions, Closed, EndSessions, Ended, Resumed, SuspendSessions, Suspended};
    use crate::testing::{at, given, session};

    fn details(scope: Scope) -> TokenDetails {
        TokenDetails { name: "laptop".parse::<DisplayName>().unwrap().into(), scope }
    }

    fn create(n: u128, expires: i64) -> CreateToken {
        CreateToken { session_id: session(n), expires_at: at(expires), details: details(Scope::Read), now: at(0) }
    }

    fn token(n: u128, expires: i64) -> SessionEvent {
        let token = Some(details(Scope::Read));
        SessionEvent::Started(Started {
            session_id: session(n),
            expires_at: at(expires),
            token,
            client: None,
            refresh_until: None,
        })
    }

    fn sign_in(n: u128) -> SessionEvent {
        SessionEvent::Started(Started {
            session_id: session(n),
            expires_at: at(100),
            token: None,
            client: None,
            refresh_until: None,
        })
    }

    fn ended(sessions: &[u128]) -> SessionEvent {
        SessionEvent::Ended(Ended { session_ids: sessions.iter().copied().map(session).collect() })
    }

    #[test]
    fn token_created_is_valid_with_its_scope_until_it_expires() {
        let sessions = given([sign_in(1)]).when(create(2, 200)).then(token(2, 200)).state;
        assert_eq!(sessions.access(session(1), at(99)), Some(Access::SignIn));
        assert_eq!(sessions.access(session(2), at(199)), Some(Access::Token(Scope::Read)));
        assert_eq!(sessions.access(session(2), at(200)), None);
        assert_eq!(sessions.tokens(at(199)).map(|(id, ..)| id).collect::<Vec<_>>(), [session(2)]);
        assert_eq!(sessions.tokens(at(200)).count(), 0);
    }

    #[test]
    fn last_sign_in_is_that_of_no_token_and_stays_when_sessions_end() {
        let sessions = given::<Sessions>([]).and_at(5, sign_in(1)).and_at(7, token(2, 200)).and([ended(&[1])]);
        assert_eq!(sessions.state.last_sign_in(), Some(at(5)));
        let disabled = sessions.and([SessionEvent::Suspended(Suspended { session_ids: vec![] })]);
        assert_eq!(disabled.state.last_sign_in(), Some(at(5)));
        let again = disabled.and([SessionEvent::Resumed(Resumed {})]).and_at(9, sign_in(3));
        assert_eq!(again.state.last_sign_in(), Some(at(9)));
        let closed = SessionEvent::Closed(Closed { session_ids: vec![session(3)] });
        assert_eq!(again.when(CloseSessions).then(closed).state.last_sign_in(), None);
    }

    #[test]
    fn token_revoked_ends_and_a_sign_in_is_no_token() {
        let sessions = given([sign_in(1), token(2, 200)])
            .when(RevokeToken { session_id: session(1) })
            .then_rejected(NoSuchToken)
            .when(RevokeToken { session_id: session(2) })
            .then(SessionEvent::Revoked(Revoked { session_id: session(2), reason: None }));
        assert_eq!(sessions.state.access(session(2), at(50)), None);
        sessions.when(RevokeToken { session_id: session(2) }).then_rejected(NoSuchToken);
    }

    #[test]
    fn tokens_stay_when_sessions_end_unless_they_shall_end_too() {
        let except = Some(session(1));
        given([sign_in(1), sign_in(2), token(3, 200)])
            .when(EndSessions { except, tokens: false })
            .then(ended(&[2]))
            .when(EndSessions { except, tokens: false })
            .then_nothing()
            .when(EndSessions { except, tokens: true })
            .then(ended(&[3]))
            .when(EndSessions { except, tokens: true })
            .then_nothing();
    }

    #[test]
    fn tokens_end_when_the_account_is_disabled() {
        let sessions = given([token(1, 200)])
            .when(SuspendSessions)
            .then(SessionEvent::Suspended(Suspended { session_ids: vec![session(1)] }))
            .when(create(2, 200))
            .then_rejected(CreateTokenRejected::NoSession(StartRejected::Suspended));
        assert_eq!((sessions.state.tokens(at(1)).count(), sessions.state.access(session(1), at(1))), (0, None));
    }

    #[test]
    fn token_above_the_limit_is_rejected_until_another_ends() {
        let many = (0..MAX_TOKENS as u128).map(|n| token(n, if n == 0 { 500 } else { 1_000 }));
        let sessions = given(many).when(create(500, 1_000)).then_rejected(CreateTokenRejected::TooMany);
        let later = CreateToken { now: at(500), ..create(500, 1_000) };
        sessions.when(later).then(token(500, 1_000));
    }
}
