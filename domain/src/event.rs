//! The union of all events, and their encoding.
//!
//! A body is decoded as an event of the aggregate that its subject names; any other event is unreadable. The type of
//! each event includes its version. A released version never changes (see `golden/`); [`mod@upcast`] converts old versions
//! before decoding.

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::account::AccountEvent;
use crate::administrators::AdministratorsEvent;
use crate::backend::BackendEvent;
use crate::claim::ClaimEvent;
use crate::enrolment::EnrolmentTokensEvent;
use crate::group::GroupsEvent;
use crate::invitation::InvitationsEvent;
use crate::refusal::RefusalsEvent;
use crate::session::SessionEvent;
use crate::subject::AggregateId;
use crate::tenancy::TenancyEvent;
use crate::webhook::WebhooksEvent;

/// Any event of the log.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Event {
    /// An account's event.
    Account(AccountEvent),
    /// An event of the set of administrators.
    Administrators(AdministratorsEvent),
    /// A claim's event.
    Claim(ClaimEvent),
    /// An event of a principal's sessions.
    Session(SessionEvent),
    /// A backend's event.
    Backend(BackendEvent),
    /// An event of the enrolment tokens.
    EnrolmentTokens(EnrolmentTokensEvent),
    /// An event of the invitations.
    Invitations(InvitationsEvent),
    /// An event of the groups.
    Groups(GroupsEvent),
    /// An event of the refusals.
    Refusals(RefusalsEvent),
    /// An event of a user's instances.
    Tenancy(TenancyEvent),
    /// An event of a user's webhooks.
    Webhooks(WebhooksEvent),
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
union!(
    AccountEvent => Account, AdministratorsEvent => Administrators, ClaimEvent => Claim, SessionEvent => Session,
    BackendEvent => Backend, EnrolmentTokensEvent => EnrolmentTokens,
    InvitationsEvent => Invitations, GroupsEvent => Groups, RefusalsEvent => Refusals,
    TenancyEvent => Tenancy, WebhooksEvent => Webhooks
);

/// An event as stored in the log. Personal values in the body are marked or sealed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Encoded {
    /// `dockhost.<noun>.<verb>.v<version>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The body.
    pub data: Value,
}

/// This program cannot decode the event. Its aggregate is quarantined until a program that can decode it runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} on {subject} cannot be read: {why}")]
pub struct UnreadableEvent {
    /// The `ce-type`.
    pub kind: String,
    /// The subject.
    pub subject: String,
    /// The reason.
    pub why: String,
}

impl Event {
    /// Encodes the type and the body.
    ///
    /// # Errors
    /// If the event has no JSON form, which the golden files rule out.
    pub fn encode(&self) -> Result<Encoded, serde_json::Error> {
        serde_json::from_value(serde_json::to_value(self)?)
    }

    /// Decodes an event of the aggregate that `subject` names.
    ///
    /// # Errors
    /// [`UnreadableEvent`] for an unknown type or version, a malformed body, or an event of another aggregate.
    pub fn decode(subject: &AggregateId, encoded: Encoded) -> Result<Self, UnreadableEvent> {
        let Some(upcast) = upcast(&encoded.kind) else {
            return Self::decode_tagged(subject, &encoded.kind, encoded.data);
        };
        let stored = encoded.kind.clone();
        let Encoded { kind, data } = upcast(encoded);
        // The error names the type that is in the log.
        Self::decode_tagged(subject, &kind, data).map_err(|error| UnreadableEvent { kind: stored, ..error })
    }

    /// Like [`Event::decode`], from the text of a body without sealed values. Faster, because it builds no [`Value`].
    ///
    /// # Errors
    /// As [`Event::decode`].
    pub fn decode_text(subject: &AggregateId, kind: &str, body: &[u8]) -> Result<Self, UnreadableEvent> {
        if upcast(kind).is_none() {
            let mut text = serde_json::Deserializer::from_slice(body);
            let event = Self::decode_tagged(subject, kind, &mut text)?;
            return text.end().map(|()| event).map_err(|error| unreadable(subject, kind, &error));
        }
        let data = serde_json::from_slice(body).map_err(|error| unreadable(subject, kind, &error))?;
        Self::decode(subject, Encoded { kind: kind.to_owned(), data })
    }

    fn decode_tagged<'de, D>(subject: &AggregateId, kind: &str, data: D) -> Result<Self, UnreadableEvent>
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
            AggregateId::Administrators(_) => of::<AdministratorsEvent, D>(kind, data),
            AggregateId::Claim(_) => of::<ClaimEvent, D>(kind, data),
            AggregateId::Session(_) => of::<SessionEvent, D>(kind, data),
            AggregateId::Backend(_) => of::<BackendEvent, D>(kind, data),
            AggregateId::EnrolmentTokens(_) => of::<EnrolmentTokensEvent, D>(kind, data),
            AggregateId::Invitations(_) => of::<InvitationsEvent, D>(kind, data),
            AggregateId::Groups(_) => of::<GroupsEvent, D>(kind, data),
            AggregateId::Refusals(_) => of::<RefusalsEvent, D>(kind, data),
            AggregateId::Tenancy(_) => of::<TenancyEvent, D>(kind, data),
            AggregateId::Webhooks(_) => of::<WebhooksEvent, D>(kind, data),
        }
        .map_err(|error| unreadable(subject, kind, &error))
    }
}

fn unreadable(subject: &AggregateId, kind: &str, error: &serde_json::Error) -> UnreadableEvent {
    UnreadableEvent { kind: kind.to_owned(), subject: subject.to_string(), why: error.to_string() }
}

/// The map `{type, data}`. With the type first, serde decodes the body directly, without buffering it.
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
        let missing = || serde::de::Error::custom("a value was requested before its key");
        match self.kind.take() {
            Some(kind) => seed.deserialize(kind.into_deserializer()),
            None => seed.deserialize(self.data.take().ok_or_else(missing)?),
        }
    }
}

mod upcast;

pub use upcast::upcast;

#[cfg(test)]
mod tests;
