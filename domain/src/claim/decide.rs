//! Takes and releases a claim.

use super::{Claim, ClaimEvent, ClaimOwner};
use crate::aggregate::{Command, CommandClass};
use crate::ids::PrincipalId;

/// Take a name for `owner`.
#[derive(Debug, Clone, Copy)]
pub struct TakeClaim {
    /// The new owner.
    pub owner: PrincipalId,
}

/// The name has another owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name has another owner")]
pub struct AlreadyClaimed;

impl Command for TakeClaim {
    type Aggregate = Claim;
    type Rejection = AlreadyClaimed;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Claim) -> Result<Option<ClaimEvent>, AlreadyClaimed> {
        match state.owner {
            None => Ok(Some(ClaimEvent::Taken(ClaimOwner { owner: self.owner }))),
            Some(owner) if owner == self.owner => Ok(None),
            Some(_) => Err(AlreadyClaimed),
        }
    }
}

/// Release a name of `owner`.
#[derive(Debug, Clone, Copy)]
pub struct ReleaseClaim {
    /// Its owner.
    pub owner: PrincipalId,
}

/// Only the owner can release a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name belongs to another owner")]
pub struct NotOwner;

impl Command for ReleaseClaim {
    type Aggregate = Claim;
    type Rejection = NotOwner;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Claim) -> Result<Option<ClaimEvent>, NotOwner> {
        match state.owner {
            None => Ok(None),
            Some(owner) if owner == self.owner => Ok(Some(ClaimEvent::Released(ClaimOwner { owner: self.owner }))),
            Some(_) => Err(NotOwner),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{given, many_cases, principal};

    fn take(owner: u128) -> TakeClaim {
        TakeClaim { owner: principal(owner) }
    }

    fn release(owner: u128) -> ReleaseClaim {
        ReleaseClaim { owner: principal(owner) }
    }

    fn owner(owner: u128) -> ClaimOwner {
        ClaimOwner { owner: principal(owner) }
    }

    #[test]
    fn claim_taken_is_rejected_for_others_until_released() {
        given([])
            .when(release(1))
            .then_nothing()
            .when(take(1))
            .then(ClaimEvent::Taken(owner(1)))
            .when(take(1))
            .then_nothing()
            .when(take(2))
            .then_rejected(AlreadyClaimed)
            .when(release(2))
            .then_rejected(NotOwner)
            .when(release(1))
            .then(ClaimEvent::Released(owner(1)))
            .when(release(1))
            .then_nothing()
            .when(take(2))
            .then(ClaimEvent::Taken(owner(2)));
    }

    proptest! {
        #![proptest_config(many_cases())]

        #[test]
        fn claim_keeps_its_owner_until_the_owner_releases_it(commands in prop::collection::vec((any::<bool>(), 0_u128..3), 0..40)) {
            let mut claim = given::<Claim>([]);
            let mut owner = None;
            for (takes, who) in commands {
                let event = if takes {
                    let result = take(who).decide(&claim.state);
                    prop_assert_eq!(result.is_ok(), owner.is_none_or(|owner| owner == who));
                    owner = owner.or(Some(who));
                    result.ok().flatten()
                } else {
                    let result = release(who).decide(&claim.state);
                    prop_assert_eq!(result.is_ok(), owner.is_none_or(|owner| owner == who));
                    owner = owner.filter(|owner| *owner != who);
                    result.ok().flatten()
                };
                claim = claim.and(event);
                prop_assert_eq!(claim.state.owner, owner.map(principal));
            }
        }
    }
}
