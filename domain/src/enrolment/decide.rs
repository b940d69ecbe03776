//! Makes, uses and revokes enrolment tokens.

use super::{
    EnrolmentTokens, EnrolmentTokensEvent, MAX_VALID, TokenCreated, TokenEnd, TokenHash, TokenRevoked, TokenUsed,
};
use crate::aggregate::{Command, CommandClass};
use crate::ids::{BackendId, EnrolmentTokenId};
use crate::timestamp::Timestamp;

/// Make a token.
#[derive(Debug, Clone)]
pub struct CreateToken {
    /// The token; its id must be new.
    pub token: TokenCreated,
    /// The deciding replica's time.
    pub now: Timestamp,
}

/// There are as many valid tokens as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_VALID} tokens are valid; revoke some first")]
pub struct TooManyTokens;

impl Command for CreateToken {
    type Aggregate = EnrolmentTokens;
    type Rejection = TooManyTokens;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &EnrolmentTokens) -> Result<Option<EnrolmentTokensEvent>, TooManyTokens> {
        if state.tokens.values().filter(|token| token.is_valid(self.now)).count() >= MAX_VALID {
            return Err(TooManyTokens);
        }
        Ok(Some(EnrolmentTokensEvent::Created(self.token.clone())))
    }
}

/// Use a token for the registration of a backend.
#[derive(Debug, Clone)]
pub struct UseToken {
    /// The hash of what the machine gave.
    pub hash: TokenHash,
    /// The backend that is registered in the same batch.
    pub backend_id: BackendId,
    /// The deciding replica's time.
    pub now: Timestamp,
}

/// There is no such token, or it was used or revoked, or it has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such valid enrolment token")]
pub struct TokenInvalid;

impl Command for UseToken {
    type Aggregate = EnrolmentTokens;
    type Rejection = TokenInvalid;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &EnrolmentTokens) -> Result<Option<EnrolmentTokensEvent>, TokenInvalid> {
        let (token_id, _) = state.find_valid(&self.hash, self.now).ok_or(TokenInvalid)?;
        Ok(Some(EnrolmentTokensEvent::Used(TokenUsed { token_id, backend_id: self.backend_id })))
    }
}

/// Revoke a token; nothing if it is revoked or has expired.
#[derive(Debug, Clone, Copy)]
pub struct RevokeToken {
    /// The token.
    pub token_id: EnrolmentTokenId,
    /// The deciding replica's time.
    pub now: Timestamp,
}

/// Why a token is not revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RevokeRejected {
    /// There is no such token.
    #[error("there is no such enrolment token")]
    NotFound,
    /// A backend was registered with it.
    #[error("the token was used by backend {0}")]
    Used(BackendId),
}

impl Command for RevokeToken {
    type Aggregate = EnrolmentTokens;
    type Rejection = RevokeRejected;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &EnrolmentTokens) -> Result<Option<EnrolmentTokensEvent>, RevokeRejected> {
        let token_id = self.token_id;
        let token = state.get(token_id).ok_or(RevokeRejected::NotFound)?;
        match token.end {
            Some(TokenEnd::Used { backend_id, .. }) => Err(RevokeRejected::Used(backend_id)),
            Some(TokenEnd::Revoked { .. }) => Ok(None),
            None => Ok(token.is_valid(self.now).then_some(EnrolmentTokensEvent::Revoked(TokenRevoked { token_id }))),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::UserId;
    use crate::labels::Labels;
    use crate::testing::{at, given};

    fn id(n: u128) -> EnrolmentTokenId {
        EnrolmentTokenId::from_uuid(Uuid::from_u128(n))
    }

    fn hash(n: u8) -> TokenHash {
        TokenHash::from_digest([n; 32])
    }

    fn backend(n: u128) -> BackendId {
        BackendId::from_uuid(Uuid::from_u128(n))
    }

    fn token(n: u8, expires_at: Timestamp) -> TokenCreated {
        let by = UserId::from_uuid(Uuid::from_u128(1));
        TokenCreated {
            token_id: id(n.into()),
            hash: hash(n),
            by,
            expires_at,
            max_containers: Some(8),
            labels: Labels::default(),
        }
    }

    fn created(n: u8) -> EnrolmentTokensEvent {
        EnrolmentTokensEvent::Created(token(n, at(100)))
    }

    fn used(n: u8, backend_id: BackendId) -> EnrolmentTokensEvent {
        EnrolmentTokensEvent::Used(TokenUsed { token_id: id(n.into()), backend_id })
    }

    fn use_it(n: u8, by: u128, now: i64) -> UseToken {
        UseToken { hash: hash(n), backend_id: backend(by), now: at(now) }
    }

    fn revoke(n: u8) -> RevokeToken {
        RevokeToken { token_id: id(n.into()), now: at(50) }
    }

    #[test]
    fn use_token_works_once_and_until_it_expires() {
        let tokens = given([]).when(use_it(1, 7, 50)).then_rejected(TokenInvalid);
        let tokens = tokens.when(CreateToken { token: token(1, at(100)), now: at(0) }).then(created(1));
        let tokens = tokens.when(use_it(2, 7, 50)).then_rejected(TokenInvalid);
        let tokens = tokens.when(use_it(1, 7, 100)).then_rejected(TokenInvalid);
        let tokens = tokens.when(use_it(1, 7, 99)).then(used(1, backend(7)));
        let tokens = tokens.when(use_it(1, 7, 99)).then_rejected(TokenInvalid);
        tokens.when(use_it(1, 8, 99)).then_rejected(TokenInvalid);
    }

    #[test]
    fn revoke_token_ends_it_unless_it_was_used() {
        let revoked = EnrolmentTokensEvent::Revoked(TokenRevoked { token_id: id(1) });
        let tokens = given([]).when(revoke(1)).then_rejected(RevokeRejected::NotFound).and([created(1)]);
        let tokens = tokens.when(revoke(1)).then(revoked).when(revoke(1)).then_nothing();
        let tokens = tokens.when(use_it(1, 7, 50)).then_rejected(TokenInvalid);
        let tokens = tokens.and([created(2), used(2, backend(7))]);
        tokens.when(revoke(2)).then_rejected(RevokeRejected::Used(backend(7)));
    }

    #[test]
    fn create_token_is_bounded_by_those_that_are_valid() {
        let many = (0..MAX_VALID as u128)
            .map(|n| EnrolmentTokensEvent::Created(TokenCreated { token_id: id(1000 + n), ..token(1, at(100)) }));
        let tokens = given(many.collect::<Vec<_>>());
        let create = |now| CreateToken { token: token(2, at(300)), now: at(now) };
        let tokens = tokens.when(create(99)).then_rejected(TooManyTokens);
        tokens.when(create(100)).then(EnrolmentTokensEvent::Created(token(2, at(300))));
    }
}
