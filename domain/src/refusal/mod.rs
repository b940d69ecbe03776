//! What was refused: failed sign-ins, and requests to administrators' endpoints by others, as counts.
//!
//! The aggregate has no state: its subject only orders the counts of all replicas.

mod network;

use std::convert::Infallible;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Command, CommandClass, Meta};
use crate::event::Event;
use crate::ids::UserId;
use crate::subject::{AggregateId, AllRefusals};
use crate::timestamp::Timestamp;

pub use network::{InvalidNetwork, Network};

/// The events of the refusals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum RefusalsEvent {
    /// A replica refused requests.
    #[serde(rename = "dockhost.refusals.counted.v1")]
    Counted(RefusalsCounted),
}

/// What one replica refused in a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusalsCounted {
    /// The first refusal.
    pub from: Timestamp,
    /// The time until which these were counted.
    pub until: Timestamp,
    /// The sources with the most refusals.
    pub counts: Vec<RefusalCount>,
    /// The sums of all other sources.
    pub others: Vec<OtherRefusals>,
}

/// The refusals of one kind from one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusalCount {
    /// Where they came from.
    pub source: RefusalSource,
    /// What was refused.
    pub kind: RefusalKind,
    /// How many.
    pub count: u64,
}

/// The refusals of one kind from all sources that are not named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OtherRefusals {
    /// What was refused.
    pub kind: RefusalKind,
    /// How many.
    pub count: u64,
}

/// Where a refused request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RefusalSource {
    /// A user who is signed in.
    User(UserId),
    /// Somebody in this network.
    Network(Network),
}

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// A sign-in with an unknown name or a wrong password.
    SignIn,
    /// A request to an administrators' endpoint without a valid token.
    Unauthorized,
    /// A request to an administrators' endpoint by somebody who may not call it.
    Forbidden,
}

impl RefusalKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::SignIn, Self::Unauthorized, Self::Forbidden];
}

/// Store what a replica refused.
#[derive(Debug, Clone)]
pub struct RecordRefusals(pub RefusalsCounted);

impl Command for RecordRefusals {
    type Aggregate = Refusals;
    type Rejection = Infallible;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, _: &Refusals) -> Result<Option<RefusalsEvent>, Infallible> {
        Ok(Some(RefusalsEvent::Counted(self.0.clone())))
    }
}

/// All refusals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {}

impl Aggregate for Refusals {
    type Id = AllRefusals;
    type Event = RefusalsEvent;

    const FOLD_DIGESTS: &'static [&'static str] = &["7c82efd66eb725c45fa41ac05ef333e804b88c4987ca14d45422aa0563c90d90"];

    fn subject(id: AllRefusals) -> AggregateId {
        AggregateId::Refusals(id)
    }

    fn event(event: &Event) -> Option<&RefusalsEvent> {
        if let Event::Refusals(event) = event { Some(event) } else { None }
    }

    fn evolve(&mut self, _: &RefusalsEvent, _: &Meta) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, given};

    #[test]
    fn refusals_are_recorded_as_they_are_each_time() {
        let counted = RefusalsCounted { from: at(1), until: at(60), counts: Vec::new(), others: Vec::new() };
        let record = || RecordRefusals(counted.clone());
        let event = || RefusalsEvent::Counted(counted.clone());
        given([]).when(record()).then(event()).when(record()).then(event());
    }
}
