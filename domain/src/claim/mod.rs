//! The claim: a name (username, email address, backend name) that has one owner at a time.
//!
//! Its subject contains a keyed hash of the normalised name, so that the log does not reveal the name.

mod decide;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Meta};
use crate::event::Event;
use crate::ids::PrincipalId;
use crate::subject::{AggregateId, ClaimId};

pub use decide::{AlreadyClaimed, NotOwner, ReleaseClaim, TakeClaim};

/// A claim's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum ClaimEvent {
    /// The name has an owner.
    #[serde(rename = "dockhost.claim.taken.v1")]
    Taken(ClaimOwner),
    /// The name has no owner any more.
    #[serde(rename = "dockhost.claim.released.v1")]
    Released(ClaimOwner),
}

/// The owner that takes or releases the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimOwner {
    /// The user or backend.
    pub owner: PrincipalId,
}

/// A name and its owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The owner; `None` if the name is free.
    #[serde(rename = "holder")]
    pub owner: Option<PrincipalId>,
}

impl std::fmt::Display for ClaimId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.kind.as_str(), self.hash)
    }
}

impl Aggregate for Claim {
    type Id = ClaimId;
    type Event = ClaimEvent;

    const FOLD_DIGESTS: &'static [&'static str] = &["b8aa63c3c0bc91fb7be7d7cb5edac46c7f23e845cf068f5b7b604dd109652ffa"];

    fn subject(id: ClaimId) -> AggregateId {
        AggregateId::Claim(id)
    }

    fn event(event: &Event) -> Option<&ClaimEvent> {
        if let Event::Claim(event) = event { Some(event) } else { None }
    }

    fn evolve(&mut self, event: &ClaimEvent, _: &Meta) {
        match event {
            ClaimEvent::Taken(by) => self.owner = Some(by.owner),
            ClaimEvent::Released(_) => self.owner = None,
        }
    }
}
