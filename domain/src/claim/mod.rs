//! The claim: a name (username, email, backend name) held by one owner at a time.
//!
//! In: its two events. Out: who holds it. The subject is a keyed hash of the normalised name, so the log shows that a
//! name is held, never which.

mod decide;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Meta};
use crate::event::Event;
use crate::ids::PrincipalId;
use crate::subject::{AggregateId, ClaimId};

pub use decide::{AlreadyClaimed, NotOwner, ReleaseClaim, TakeClaim};

/// What happens to a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum ClaimEvent {
    /// Somebody holds the name from now on.
    #[serde(rename = "dockhost.claim.taken.v1")]
    Taken(ClaimOwner),
    /// The name is free again.
    #[serde(rename = "dockhost.claim.released.v1")]
    Released(ClaimOwner),
}

/// Who takes or gives up the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimOwner {
    /// The user or backend.
    pub owner: PrincipalId,
}

/// One name: free, or held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Who holds it.
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

    const FOLD_VERSION: u32 = 1;

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
