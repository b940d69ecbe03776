//! Decisions: take a name, give it up. In: the owner. Out: `taken` or `released`, nothing if it is so already, or the
//! rejection that another holds it.

use super::{Claim, ClaimEvent, Owner};
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
pub struct Taken;

impl Command for TakeClaim {
    type Aggregate = Claim;
    type Rejection = Taken;

    fn decide(&self, state: &Claim) -> Result<Option<ClaimEvent>, Taken> {
        match state.holder {
            None => Ok(Some(ClaimEvent::Taken(Owner { owner: self.owner }))),
            Some(holder) if holder == self.owner => Ok(None),
            Some(_) => Err(Taken),
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
pub struct NotTheHolder;

impl Command for ReleaseClaim {
    type Aggregate = Claim;
    type Rejection = NotTheHolder;

    fn decide(&self, state: &Claim) -> Result<Option<ClaimEvent>, NotTheHolder> {
        match state.holder {
            None => Ok(None),
            Some(holder) if holder == self.owner => Ok(Some(ClaimEvent::Released(Owner { owner: self.owner }))),
            Some(_) => Err(NotTheHolder),
        }
    }
}
