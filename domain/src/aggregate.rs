//! The shape that all aggregates share: events in, state out, and commands that are decided upon a state.
//!
//! In: a state folded from one subject's events. Out: at most one new event per decision (what really spans
//! aggregates is put together by the caller as one atomic batch of such decisions), or a typed rejection.

#[cfg(test)]
mod fold_versions;

use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::Event;
use crate::ids::EventId;
use crate::subject::AggregateId;
use crate::timestamp::Timestamp;

/// What an event's envelope says that a fold may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// The event's own id; an operation is named after the event that recorded the wish.
    pub id: EventId,
    /// When it was decided, by the deciding replica's clock (`ce-time`); never the broker's time.
    pub time: Timestamp,
}

/// A state folded from the events of one literal subject. Its JSON form is what a snapshot keeps, and must be read back
/// as the same state.
pub trait Aggregate: Default + Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Names one aggregate of this kind.
    type Id: Copy + Eq + Hash + Send + Sync + std::fmt::Display + 'static;
    /// Its events.
    type Event: Clone + Into<Event> + Send + Sync + 'static;

    /// Rises when [`evolve`](Self::evolve) makes another state of the same events, when there are more events, or when
    /// the state's form changes: snapshots of other versions count for nothing. `fold_versions.rs` tells when.
    const FOLD_VERSION: u32;

    /// The subject of the aggregate with this id.
    fn subject(id: Self::Id) -> AggregateId;

    /// The events of this kind out of the union; `None` for another aggregate's.
    fn event(event: &Event) -> Option<&Self::Event>;

    /// Applies one recorded event. Total: whatever the log holds can be folded, because the log has the last word.
    fn evolve(&mut self, event: &Self::Event, meta: &Meta);
}

/// Something asked of an aggregate.
pub trait Command: Send + Sync {
    /// The aggregate it is asked of.
    type Aggregate: Aggregate;
    /// Why it may be refused.
    type Rejection: std::error::Error + Send + Sync + 'static;

    /// The rule. `Ok(None)` means that the state already is as asked (or that the news is old).
    ///
    /// # Errors
    /// The rejection, when the rules forbid it.
    fn decide(&self, state: &Self::Aggregate)
    -> Result<Option<<Self::Aggregate as Aggregate>::Event>, Self::Rejection>;
}
