//! Makes, uses and revokes invitations.

use super::{
    InvitationCreated, InvitationEnd, InvitationRevoked, InvitationUsed, Invitations, InvitationsEvent, MAX_VALID,
};
use crate::aggregate::{Command, CommandClass};
use crate::enrolment::TokenHash;
use crate::ids::{InvitationId, UserId};
use crate::timestamp::Timestamp;

/// Invite somebody.
#[derive(Debug, Clone)]
pub struct CreateInvitation {
    /// The invitation; its id must be new.
    pub invitation: InvitationCreated,
    /// The deciding replica's time.
    pub now: Timestamp,
}

/// There are as many valid invitations as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_VALID} invitations are valid; revoke some first")]
pub struct TooManyInvitations;

impl Command for CreateInvitation {
    type Aggregate = Invitations;
    type Rejection = TooManyInvitations;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Invitations) -> Result<Option<InvitationsEvent>, TooManyInvitations> {
        if state.iter().filter(|(_, invitation)| invitation.is_valid(self.now)).count() >= MAX_VALID {
            return Err(TooManyInvitations);
        }
        Ok(Some(InvitationsEvent::Created(self.invitation.clone())))
    }
}

/// Use an invitation for a sign-up.
#[derive(Debug, Clone)]
pub struct UseInvitation {
    /// The hash of the token that the person gave.
    pub hash: TokenHash,
    /// The user whose account is created in the same batch.
    pub user_id: UserId,
    /// The deciding replica's time.
    pub now: Timestamp,
}

/// There is no such invitation, or it was used or revoked, or it has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such valid invitation")]
pub struct InvitationInvalid;

impl Command for UseInvitation {
    type Aggregate = Invitations;
    type Rejection = InvitationInvalid;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Invitations) -> Result<Option<InvitationsEvent>, InvitationInvalid> {
        let valid = state.find(&self.hash).filter(|(_, invitation)| invitation.is_valid(self.now));
        let (invitation_id, _) = valid.ok_or(InvitationInvalid)?;
        Ok(Some(InvitationsEvent::Used(InvitationUsed { invitation_id, user_id: self.user_id })))
    }
}

/// Revoke an invitation; nothing if it is revoked or has expired.
#[derive(Debug, Clone, Copy)]
pub struct RevokeInvitation {
    /// The invitation.
    pub invitation_id: InvitationId,
    /// The deciding replica's time.
    pub now: Timestamp,
}

/// Why an invitation is not revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RevokeInvitationRejected {
    /// There is no such invitation.
    #[error("there is no such invitation")]
    NotFound,
    /// Somebody signed up with it.
    #[error("user {0} signed up with the invitation")]
    Used(UserId),
}

impl Command for RevokeInvitation {
    type Aggregate = Invitations;
    type Rejection = RevokeInvitationRejected;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Invitations) -> Result<Option<InvitationsEvent>, RevokeInvitationRejected> {
        let invitation_id = self.invitation_id;
        let invitation = state.get(invitation_id).ok_or(RevokeInvitationRejected::NotFound)?;
        if let Some(InvitationEnd::Used { user_id, .. }) = invitation.end {
            return Err(RevokeInvitationRejected::Used(user_id));
        }
        let revoked = InvitationsEvent::Revoked(InvitationRevoked { invitation_id });
        Ok(invitation.is_valid(self.now).then_some(revoked))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::{at, given};

    fn id(n: u128) -> InvitationId {
        InvitationId::from_uuid(Uuid::from_u128(n))
    }

    fn user(n: u128) -> UserId {
        UserId::from_uuid(Uuid::from_u128(n))
    }

    fn details(n: u8) -> InvitationCreated {
        InvitationCreated {
            invitation_id: id(n.into()),
            hash: TokenHash::from_digest([n; 32]),
            by: user(1),
            expires_at: at(100),
            max_instances: Some(2),
            max_cpu_millis: None,
            max_memory_mib: None,
            group_id: None,
        }
    }

    fn created(n: u8) -> InvitationsEvent {
        InvitationsEvent::Created(details(n))
    }

    fn used(n: u8, by: u128) -> InvitationsEvent {
        InvitationsEvent::Used(InvitationUsed { invitation_id: id(n.into()), user_id: user(by) })
    }

    fn use_it(n: u8, by: u128, now: i64) -> UseInvitation {
        UseInvitation { hash: TokenHash::from_digest([n; 32]), user_id: user(by), now: at(now) }
    }

    fn revoke(n: u8) -> RevokeInvitation {
        RevokeInvitation { invitation_id: id(n.into()), now: at(50) }
    }

    #[test]
    fn use_invitation_works_once_and_until_it_expires() {
        let state = given([]).when(use_it(1, 7, 50)).then_rejected(InvitationInvalid);
        let state = state.when(CreateInvitation { invitation: details(1), now: at(0) }).then(created(1));
        let state = state.when(use_it(2, 7, 50)).then_rejected(InvitationInvalid);
        let state = state.when(use_it(1, 7, 100)).then_rejected(InvitationInvalid);
        let state = state.when(use_it(1, 7, 99)).then(used(1, 7));
        let state = state.when(use_it(1, 7, 99)).then_rejected(InvitationInvalid);
        let state = state.when(use_it(1, 8, 99)).then_rejected(InvitationInvalid).state;
        let by = |n| state.get(id(1)).is_some_and(|invitation| invitation.was_used_by(user(n)));
        assert_eq!((by(7), by(8)), (true, false));
    }

    #[test]
    fn revoke_invitation_ends_it_unless_it_was_used() {
        let revoked = InvitationsEvent::Revoked(InvitationRevoked { invitation_id: id(1) });
        let state = given([]).when(revoke(1)).then_rejected(RevokeInvitationRejected::NotFound).and([created(1)]);
        let state = state.when(revoke(1)).then(revoked).when(revoke(1)).then_nothing();
        let state = state.when(use_it(1, 7, 50)).then_rejected(InvitationInvalid);
        let state = state.and([created(2), used(2, 7)]);
        state.when(revoke(2)).then_rejected(RevokeInvitationRejected::Used(user(7)));
    }

    #[test]
    fn create_invitation_is_bounded_by_those_that_are_valid() {
        let many = (0..MAX_VALID as u128)
            .map(|n| InvitationsEvent::Created(InvitationCreated { invitation_id: id(1000 + n), ..details(1) }));
        let state = given(many.collect::<Vec<_>>());
        let later = InvitationCreated { expires_at: at(300), ..details(2) };
        let create = |now| CreateInvitation { invitation: later.clone(), now: at(now) };
        let state = state.when(create(99)).then_rejected(TooManyInvitations);
        state.when(create(100)).then(InvitationsEvent::Created(later.clone()));
    }
}
