//! The union of all events, and their names in the log.
//!
//! In: typed events to be recorded; `ce-type` and body on the way back. Out: the pair of type and body, or a typed
//! event. A body is decoded as the kind of event that its subject allows, so an event on a foreign subject is
//! unreadable, never misread. Each variant's name carries its version; a shipped version never changes (see
//! `golden/`), an old one is lifted by [`upcast`] before decoding.

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess};
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
pub struct UnreadableEvent {
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
    /// [`UnreadableEvent`] for an unknown type or version, a body of another shape, or a type that is foreign to the subject.
    pub fn decode(subject: &AggregateId, encoded: Encoded) -> Result<Self, UnreadableEvent> {
        let Encoded { kind, data } = match upcast(&encoded.kind) {
            Some(upcast) => upcast(encoded),
            None => encoded,
        };
        Self::tagged(subject, &kind, data)
    }

    /// The same from the text of a body that holds no sealed value: the values go where they belong without lying in a
    /// tree first, which is what reading many events is about.
    ///
    /// # Errors
    /// As [`Event::decode`].
    pub fn decode_text(subject: &AggregateId, kind: &str, body: &[u8]) -> Result<Self, UnreadableEvent> {
        if upcast(kind).is_none() {
            let mut text = serde_json::Deserializer::from_slice(body);
            let event = Self::tagged(subject, kind, &mut text)?;
            return text.end().map(|()| event).map_err(|error| unreadable(subject, kind, &error));
        }
        let data = serde_json::from_slice(body).map_err(|error| unreadable(subject, kind, &error))?;
        Self::decode(subject, Encoded { kind: kind.to_owned(), data })
    }

    fn tagged<'de, D>(subject: &AggregateId, kind: &str, data: D) -> Result<Self, UnreadableEvent>
    where
        D: Deserializer<'de, Error = serde_json::Error>,
    {
        fn of<'de, E, D>(kind: &str, data: D) -> Result<Event, serde_json::Error>
        where
            E: DeserializeOwned + Into<Event>,
            D: Deserializer<'de, Error = serde_json::Error>,
        {
            E::deserialize(MapAccessDeserializer::new(Tagged { kind: Some(kind), data: Some(data) })).map(Into::into)
        }
        match subject {
            AggregateId::Account(_) => of::<AccountEvent, D>(kind, data),
            AggregateId::Claim(_) => of::<ClaimEvent, D>(kind, data),
            AggregateId::Session(_) => of::<SessionEvent, D>(kind, data),
            AggregateId::Backend(_) => of::<BackendEvent, D>(kind, data),
            AggregateId::Tenancy(_) => of::<TenancyEvent, D>(kind, data),
        }
        .map_err(|error| unreadable(subject, kind, &error))
    }
}

fn unreadable(subject: &AggregateId, kind: &str, error: &serde_json::Error) -> UnreadableEvent {
    UnreadableEvent { kind: kind.to_owned(), subject: subject.to_string(), why: error.to_string() }
}

/// The map `{type, data}` with the type first, so that the body is read straight as what the type says; the other way
/// round it would have to be kept aside until the type is known.
struct Tagged<'a, D> {
    kind: Option<&'a str>,
    data: Option<D>,
}

impl<'de, D: Deserializer<'de, Error = serde_json::Error>> MapAccess<'de> for Tagged<'_, D> {
    type Error = serde_json::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Self::Error> {
        let name = match (&self.kind, &self.data) {
            (Some(_), _) => "type",
            (None, Some(_)) => "data",
            (None, None) => return Ok(None),
        };
        seed.deserialize(name.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Self::Error> {
        let missing = || serde::de::Error::custom("a value was asked for without its name");
        match self.kind.take() {
            Some(kind) => seed.deserialize(kind.into_deserializer()),
            None => seed.deserialize(self.data.take().ok_or_else(missing)?),
        }
    }
}

/// How an old version of an event becomes the one that this binary folds; none for a type that is folded as it is, or
/// is unknown. Nothing has a second version yet; a new one adds an arm here and keeps the old golden file.
#[must_use]
pub const fn upcast(_kind: &str) -> Option<fn(Encoded) -> Encoded> {
    None
}

#[cfg(test)]
mod tests;
