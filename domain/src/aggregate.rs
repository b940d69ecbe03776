//! The traits of aggregates and commands.
//!
//! A command yields at most one event of one aggregate. To change several aggregates at once, the caller appends
//! several decisions as one atomic batch.

#[cfg(test)]
mod fold_versions;

use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::Event;
use crate::ids::EventId;
use crate::subject::AggregateId;
use crate::timestamp::Timestamp;

/// The part of an event's envelope that a fold may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// The event's id. An operation has the id of the event that began it.
    pub id: EventId,
    /// When it was decided, by the clock of the deciding replica (`ce-time`), not of the broker.
    pub time: Timestamp,
}

/// A state folded from the events of one subject. Snapshots store its JSON form, which must deserialize to the same
/// state.
pub trait Aggregate: Default + Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Identifies one aggregate of this kind.
    type Id: Copy + Eq + Hash + Send + Sync + std::fmt::Display + 'static;
    /// Its events.
    type Event: Clone + Into<Event> + Send + Sync + 'static;

    /// One digest per version of the fold; the last one belongs to the current fold. Append one when
    /// [`evolve`](Self::evolve) folds the same events into another state, when an event is added, or when the JSON form
    /// changes, and change no other. The test in `fold_versions.rs` checks the last one and prints the one to append.
    const FOLD_DIGESTS: &'static [&'static str];

    /// The version of the fold. Snapshots of other versions are ignored.
    const FOLD_VERSION: u32 = Self::FOLD_DIGESTS.len() as u32;

    /// The subject of the aggregate with this id.
    fn subject(id: Self::Id) -> AggregateId;

    /// Extracts this kind's event; `None` for other kinds.
    fn event(event: &Event) -> Option<&Self::Event>;

    /// Applies one recorded event. It cannot fail: `decide` is the only place that rejects.
    fn evolve(&mut self, event: &Self::Event, meta: &Meta);
}

/// What a command does to the log's room. The last tenth of the log is a reserve for what ends or completes something,
/// so that a full log never keeps anybody from stopping, deleting or erasing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandClass {
    /// It begins something that more events follow (an account, a session, a running instance): refused in the reserve.
    Growth,
    /// It ends or completes something, or records what has happened: accepted up to the end of the log.
    Essential,
}

/// A request to change one aggregate.
pub trait Command: Send + Sync {
    /// The aggregate to change.
    type Aggregate: Aggregate;
    /// The reasons to reject it.
    type Rejection: std::error::Error + Send + Sync + 'static;

    /// Whether the log's reserve is for it.
    fn class(&self) -> CommandClass;

    /// Decides on `state`. `Ok(None)` means that there is nothing to change.
    ///
    /// # Errors
    /// The rejection, if the rules forbid the change.
    fn decide(&self, state: &Self::Aggregate)
    -> Result<Option<<Self::Aggregate as Aggregate>::Event>, Self::Rejection>;
}
