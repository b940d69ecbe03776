//! The envelope of an event: CloudEvents 1.0, NATS binding, binary mode. Headers are text pairs here, so that this
//! crate does not depend on a NATS client.

use std::fmt;
use std::str::FromStr;

use crate::aggregate::Meta;
use crate::event::Event;
use crate::idempotency::KeyedRequest;
use crate::ids::{BackendId, EventId, UserId};
use crate::subject::AggregateId;
use crate::timestamp::Timestamp;
use crate::trace::TraceParent;

/// The names of the headers; `docs/EVENTS.md` lists them.
pub mod header {
    /// Always `1.0`.
    pub const SPEC_VERSION: &str = "ce-specversion";
    /// The event's UUIDv7.
    pub const ID: &str = "ce-id";
    /// `dockhost.<noun>.<verb>.v<version>`.
    pub const TYPE: &str = "ce-type";
    /// The program that wrote it, with its version.
    pub const SOURCE: &str = "ce-source";
    /// The time of the decision, RFC 3339.
    pub const TIME: &str = "ce-time";
    /// The aggregate's subject.
    pub const SUBJECT: &str = "ce-subject";
    /// `application/json`.
    pub const CONTENT_TYPE: &str = "content-type";
    /// The [`Actor`](super::Actor).
    pub const ACTOR: &str = "dockhost-actor";
    /// The request, report, timer or event that caused it.
    pub const CAUSE: &str = "dockhost-cause";
    /// The [`KeyedRequest`](super::KeyedRequest), if any.
    pub const REQUEST: &str = "dockhost-request";
    /// The W3C trace context of what caused it, if any.
    pub const TRACE_PARENT: &str = crate::trace::HEADER;
}

/// The value of `ce-specversion`.
pub const SPEC_VERSION: &str = "1.0";

/// On whose behalf a command was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A caller who is not signed in (sign-up, sign-in).
    Anonymous,
    /// A user, about what is their own.
    User(UserId),
    /// A user who is an administrator, about anything else.
    Admin(UserId),
    /// A backend.
    Backend(BackendId),
    /// The operator, with a command beside the servers, or by the server's configuration.
    Operator,
    /// DockHost itself: timers, liveness, reactions.
    System,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::User(id) => write!(f, "user:{id}"),
            Self::Admin(id) => write!(f, "admin:{id}"),
            Self::Backend(id) => write!(f, "backend:{id}"),
            Self::Operator => f.write_str("operator"),
            Self::System => f.write_str("system"),
        }
    }
}

impl FromStr for Actor {
    type Err = MalformedEnvelope;

    fn from_str(text: &str) -> Result<Self, MalformedEnvelope> {
        let malformed = || MalformedEnvelope { header: header::ACTOR, value: text.to_owned() };
        match text.split_once(':') {
            None if text == "anonymous" => Ok(Self::Anonymous),
            None if text == "operator" => Ok(Self::Operator),
            None if text == "system" => Ok(Self::System),
            Some(("user", id)) => Ok(Self::User(id.parse().map_err(|_| malformed())?)),
            Some(("admin", id)) => Ok(Self::Admin(id.parse().map_err(|_| malformed())?)),
            Some(("backend", id)) => Ok(Self::Backend(id.parse().map_err(|_| malformed())?)),
            _ => Err(malformed()),
        }
    }
}

/// The actor and the cause of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// On whose behalf.
    pub actor: Actor,
    /// `request:<id>`, `report:<sequence>`, `timer:<…>`, `reaction:<event id>`, `command:<name>`, `configuration`, or what a
    /// role of the leader found, such as `backend-lost:<backend id>`; never text that a user entered.
    pub cause: String,
    /// The trace that the event belongs to, and the span that caused it.
    pub trace_parent: Option<TraceParent>,
    /// The request, if it has an `Idempotency-Key`.
    pub request: Option<KeyedRequest>,
}

impl Origin {
    /// Without a trace and without an `Idempotency-Key`.
    #[must_use]
    pub fn new(actor: Actor, cause: impl Into<String>) -> Self {
        Self { actor, cause: cause.into(), trace_parent: None, request: None }
    }

    /// The same in a trace, if there is one, unless it is in one already.
    #[must_use]
    pub fn in_trace(self, trace_parent: Option<TraceParent>) -> Self {
        Self { trace_parent: self.trace_parent.or(trace_parent), ..self }
    }
}

/// An event with its metadata, ready to be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// The aggregate.
    pub aggregate: AggregateId,
    /// Id and time.
    pub meta: Meta,
    /// Actor and cause.
    pub origin: Origin,
    /// The event.
    pub event: Event,
}

/// An event in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedEvent {
    /// Its sequence in the stream, from 1.
    pub sequence: u64,
    /// The event.
    pub envelope: Envelope,
}

/// A header is absent or malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid header {header}: {value:?}")]
pub struct MalformedEnvelope {
    /// The header's name.
    pub header: &'static str,
    /// Its value; empty if absent.
    pub value: String,
}

/// The headers of an event. `kind` is the `ce-type` from [`Event::encode`](crate::event::Event::encode).
#[must_use]
pub fn headers(
    aggregate: &AggregateId,
    meta: &Meta,
    origin: &Origin,
    kind: &str,
    source: &str,
) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        (header::SPEC_VERSION, SPEC_VERSION.to_owned()),
        (header::ID, meta.id.to_string()),
        (header::TYPE, kind.to_owned()),
        (header::SOURCE, source.to_owned()),
        (header::TIME, meta.time.to_string()),
        (header::SUBJECT, aggregate.to_string()),
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::ACTOR, origin.actor.to_string()),
        (header::CAUSE, origin.cause.clone()),
    ];
    if let Some(request) = &origin.request {
        headers.push((header::REQUEST, request.to_string()));
    }
    if let Some(parent) = &origin.trace_parent {
        headers.push((header::TRACE_PARENT, parent.to_string()));
    }
    headers
}

/// Parses the headers: id and time, origin, and `ce-type`.
///
/// # Errors
/// [`MalformedEnvelope`] with the first header that is absent or malformed.
pub fn read<'a>(get: impl Fn(&'static str) -> Option<&'a str>) -> Result<(Meta, Origin, String), MalformedEnvelope> {
    fn parsed<T: FromStr>(header: &'static str, value: &str) -> Result<T, MalformedEnvelope> {
        value.parse().map_err(|_| MalformedEnvelope { header, value: value.to_owned() })
    }
    let required = |header| get(header).ok_or(MalformedEnvelope { header, value: String::new() });
    let meta = Meta {
        id: parsed::<EventId>(header::ID, required(header::ID)?)?,
        time: parsed::<Timestamp>(header::TIME, required(header::TIME)?)?,
    };
    let origin = Origin {
        actor: parsed(header::ACTOR, required(header::ACTOR)?)?,
        cause: required(header::CAUSE)?.to_owned(),
        // They say nothing about the event, so malformed ones must not make the event unreadable.
        trace_parent: get(header::TRACE_PARENT).and_then(|text| text.parse().ok()),
        request: get(header::REQUEST).and_then(|text| text.parse().ok()),
    };
    Ok((meta, origin, required(header::TYPE)?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn actor_of_each_kind_round_trips() {
        let (user, backend) = (UserId::from_uuid(Uuid::from_u128(1)), BackendId::from_uuid(Uuid::from_u128(2)));
        for actor in [
            Actor::Anonymous,
            Actor::User(user),
            Actor::Admin(user),
            Actor::Backend(backend),
            Actor::Operator,
            Actor::System,
        ] {
            assert_eq!(actor.to_string().parse(), Ok(actor));
        }
        for text in ["", "root", "admin", "admin:", "admin:ada", "operator:1", "Operator"] {
            assert!(text.parse::<Actor>().is_err(), "{text}");
        }
    }

    #[test]
    fn envelope_headers_round_trip_and_a_missing_one_is_reported() {
        let user: UserId = "0193b3a0-0000-7000-8000-000000000001".parse().unwrap();
        let aggregate = AggregateId::Account(user);
        let meta = Meta {
            id: "0193b3a0-0000-7000-8000-000000000002".parse().unwrap(),
            time: Timestamp::from_millis(1_764_000_000_123),
        };
        let request = "000000000000000000000000000000a1.000000000000000000000000000000b2";
        let keyed = request.parse().ok();
        let origin =
            Origin { actor: Actor::User(user), cause: "request:r1".to_owned(), trace_parent: None, request: keyed };
        let pairs = headers(&aggregate, &meta, &origin, "dockhost.account.created.v1", "dockhost/0.1.0");
        let get = |name| pairs.iter().find(|(header, _)| *header == name).map(|(_, value)| value.as_str());
        assert_eq!(read(get).unwrap(), (meta, origin, "dockhost.account.created.v1".to_owned()));
        for (text, expected) in [(request, keyed), ("a1.b2", None)] {
            let changed = |name| if name == header::REQUEST { Some(text) } else { get(name) };
            assert_eq!(read(changed).unwrap().1.request, expected);
        }
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for (text, expected) in [(trace, trace.parse().ok()), ("4bf92f35", None)] {
            let traced = |name| if name == header::TRACE_PARENT { Some(text) } else { get(name) };
            assert_eq!(read(traced).unwrap().1.trace_parent, expected);
        }
        for required in [header::ID, header::TIME, header::ACTOR, header::CAUSE, header::TYPE] {
            let without = |name| if name == required { None } else { get(name) };
            assert_eq!(read(without).unwrap_err().header, required);
        }
    }
}
