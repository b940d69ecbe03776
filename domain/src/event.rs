//! The union of all events, and their names in the log.
//!
//! In: typed events to be recorded; `ce-type` and body on the way back. Out: the pair of type and body, or a typed
//! event. A body is decoded as the kind of event that its subject allows, so an event on a foreign subject is
//! unreadable, never misread. Each variant's name carries its version; a shipped version never changes (see
//! `golden/`), an old one is lifted by [`upcast`] before decoding.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::account::AccountEvent;
use crate::backend::BackendEvent;
use crate::claim::ClaimEvent;
use crate::session::SessionEvent;
use crate::subject::AggregateId;
use crate::tenancy::TenancyEvent;

/// Any event of the log.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Event {
    /// Of an account.
    Account(AccountEvent),
    /// Of a claim.
    Claim(ClaimEvent),
    /// Of a principal's sessions.
    Session(SessionEvent),
    /// Of a backend.
    Backend(BackendEvent),
    /// Of a user's instances.
    Tenancy(TenancyEvent),
}

macro_rules! union {
    ($($event:ident => $variant:ident),*) => {
        $(impl From<$event> for Event {
            fn from(event: $event) -> Self {
                Self::$variant(event)
            }
        })*
    };
}
union!(AccountEvent => Account, ClaimEvent => Claim, SessionEvent => Session, BackendEvent => Backend, TenancyEvent => Tenancy);

/// An event as it stands in the log: its `ce-type`, and its body with personal values still marked or sealed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Encoded {
    /// `dockhost.<noun>.<verb>.v<version>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The body.
    pub data: Value,
}

/// This binary cannot read the event; its aggregate is frozen here until one that can comes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} on {subject} cannot be read: {why}")]
pub struct Unreadable {
    /// The `ce-type`.
    pub kind: String,
    /// The subject.
    pub subject: String,
    /// What is wrong with it.
    pub why: String,
}

impl Event {
    /// Type and body.
    ///
    /// # Errors
    /// Only if a variant's shape has no JSON form, which the golden files rule out.
    pub fn encode(&self) -> Result<Encoded, serde_json::Error> {
        serde_json::from_value(serde_json::to_value(self)?)
    }

    /// Reads an event of the kind that `subject` holds.
    ///
    /// # Errors
    /// [`Unreadable`] for an unknown type or version, a body of another shape, or a type that is foreign to the subject.
    pub fn decode(subject: &AggregateId, encoded: Encoded) -> Result<Self, Unreadable> {
        fn as_kind<E: DeserializeOwned + Into<Event>>(Encoded { kind, data }: Encoded) -> Result<Event, String> {
            let tagged =
                Value::Object([("type".to_owned(), kind.into()), ("data".to_owned(), data)].into_iter().collect());
            serde_json::from_value::<E>(tagged).map(Into::into).map_err(|error| error.to_string())
        }
        let kind = encoded.kind.clone();
        let encoded = upcast(encoded);
        match subject {
            AggregateId::Account(_) => as_kind::<AccountEvent>(encoded),
            AggregateId::Claim(_) => as_kind::<ClaimEvent>(encoded),
            AggregateId::Session(_) => as_kind::<SessionEvent>(encoded),
            AggregateId::Backend(_) => as_kind::<BackendEvent>(encoded),
            AggregateId::Tenancy(_) => as_kind::<TenancyEvent>(encoded),
        }
        .map_err(|why| Unreadable { kind, subject: subject.to_string(), why })
    }
}

/// Lifts an old version of an event to the one that this binary folds. Nothing has a second version yet; a new one adds
/// an arm here and keeps the old golden file.
#[must_use]
pub const fn upcast(encoded: Encoded) -> Encoded {
    encoded
}

#[cfg(test)]
mod tests;
