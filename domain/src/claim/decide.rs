//! Decisions: take a name, give it up. In: the owner. Out: `taken` or `released`, nothing if it is so already, or the
//! rejection that another holds it.

use super::{Claim, ClaimEvent, ClaimOwner};
use crate::aggregate::Command;
use crate::ids::PrincipalId;

/// Hold this name for `owner`.
#[derive(Debug, Clone, Copy)]
pub struct TakeClaim {
    /// Who wants it.
    pub owner: PrincipalId,
}

/// Another holds the name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this name is taken")]
pub struct AlreadyClaimed;

impl Command for TakeClaim {
    type Aggregate = Claim;
    type Rejection = AlreadyClaimed;

    fn decide(&self, state: &Claim) -> Result<Option<ClaimEvent>, AlreadyClaimed> {
        match state.owner {
            None => Ok(Some(ClaimEvent::Taken(ClaimOwner { owner: self.owner }))),
            Some(holder) if holder == self.owner => Ok(None),
            Some(_) => Err(AlreadyClaimed),
        }
    }
}

/// Free this name, which `owner` holds.
#[derive(Debug, Clone, Copy)]
pub struct ReleaseClaim {
    /// Who gives it up.
    pub owner: PrincipalId,
}

/// Only the holder can give a name up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("another holds this name")]
pub struct NotOwner;

impl Command for ReleaseClaim {
    type Aggregate = Claim;
    type Rejection = NotOwner;

    fn decide(&self, state: &Claim) -> Result<Option<ClaimEvent>, NotOwner> {
        match state.owner {
            None => Ok(None),
            Some(holder) if holder == self.owner => Ok(Some(ClaimEvent::Released(ClaimOwner { owner: self.owner }))),
            Some(_) => Err(NotOwner),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{given, principal, thorough};

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
    fn a_name_is_held_by_one_until_they_give_it_up() {
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
        #![proptest_config(thorough())]

        /// Whoever was told that the name is theirs holds it until they give it up.
        #[test]
        fn a_name_never_changes_hands_unless_given_up(asked in prop::collection::vec((any::<bool>(), 0_u128..3), 0..40)) {
            let mut claim = given::<Claim>([]);
            let mut holder = None;
            for (takes, who) in asked {
                let event = if takes {
                    let answer = take(who).decide(&claim.state);
                    prop_assert_eq!(answer.is_ok(), holder.is_none_or(|holder| holder == who));
                    holder = holder.or(Some(who));
                    answer.ok().flatten()
                } else {
                    let answer = release(who).decide(&claim.state);
                    prop_assert_eq!(answer.is_ok(), holder.is_none_or(|holder| holder == who));
                    holder = holder.filter(|holder| *holder != who);
                    answer.ok().flatten()
                };
                claim = claim.and(event);
                prop_assert_eq!(claim.state.owner, holder.map(principal));
            }
        }
    }
}
