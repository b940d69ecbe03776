//! An event of the log: as administrators see it, without any personal value, and as the person sees it whom it is about.

use std::sync::Arc;

use dockhost_domain::envelope::{Actor, RecordedEvent};
use dockhost_domain::event::Encoded;
use dockhost_domain::personal::MARKER;
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::{LogEntry, Unreadable};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::actor::{Actors, EventActor};
use crate::http::app::App;

/// Members that are shown to nobody: what passwords and tokens are checked with, and what webhooks are signed with.
const SECRETS: [&str; 3] = ["passwordVerifier", "secretHash", "signingSecret"];
/// Stands for a personal value that is not shown.
const NOT_SHOWN: &str = "(personal)";
/// What all subjects of events begin with.
const SUBJECTS: &str = "dockhost.event.";

/// An event that was found.
#[derive(Debug, Clone)]
pub enum FoundEvent {
    /// With its body.
    Event(Arc<RecordedEvent>, Encoded),
    /// This program can't read it.
    Unreadable(Unreadable),
}

/// An event of the log. What this server can't read has neither type nor time.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// Its position in the log.
    position: String,
    /// Its sequence in the log: a `cursor` after which the next events are.
    sequence: u64,
    /// Its id.
    #[schema(required)]
    id: Option<Uuid>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    time: Option<Timestamp>,
    /// Its type, as in EVENTS.md.
    #[serde(rename = "type")]
    #[schema(required)]
    kind: Option<String>,
    /// What it is about: a kind of aggregate and an id, `tenancy.01a2050d-…`. That of a claim is the keyed hash of a name.
    subject: String,
    #[schema(required)]
    actor: Option<EventActor>,
    /// The request, report, timer, event or command that caused it.
    #[schema(required)]
    cause: Option<String>,
    /// The id of the request that caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    request_id: Option<String>,
    /// Its body. What a person typed or a backend said is shown to that person alone, to others as `(personal)`, and as null
    /// once it is erased.
    data: Value,
    /// Why this server can't read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    unreadable: Option<String>,
}

impl FoundEvent {
    /// An entry of the log; `None` if its body can't be encoded.
    pub fn of(entry: &LogEntry) -> Option<Self> {
        Some(match entry {
            LogEntry::Event(recorded) => Self::Event(Arc::clone(recorded), recorded.envelope.event.encode().ok()?),
            LogEntry::Unreadable(unreadable) => Self::Unreadable(unreadable.clone()),
        })
    }

    /// Its sequence.
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Event(recorded, _) => recorded.sequence,
            Self::Unreadable(unreadable) => unreadable.sequence,
        }
    }

    /// Who acted, if that is known.
    pub fn actor(&self) -> Option<Actor> {
        match self {
            Self::Event(recorded, _) => Some(recorded.envelope.origin.actor),
            Self::Unreadable(_) => None,
        }
    }

    /// As administrators see it.
    pub fn view(self, app: &App, actors: &Actors) -> AuditEvent {
        self.view_with(app, actors, without_personal_values)
    }

    /// As the person sees it whom it is about.
    pub fn view_of_owner(self, app: &App) -> AuditEvent {
        self.view_with(app, &Actors::for_owner(), with_personal_values)
    }

    fn view_with(self, app: &App, actors: &Actors, shown: fn(Value) -> Value) -> AuditEvent {
        let subject = |subject: &str| subject.strip_prefix(SUBJECTS).unwrap_or(subject).to_owned();
        let position = app.position(self.sequence());
        let sequence = self.sequence();
        match self {
            Self::Event(recorded, Encoded { kind, data }) => {
                let envelope = &recorded.envelope;
                let cause = envelope.origin.cause.clone();
                AuditEvent {
                    position,
                    sequence,
                    id: Some(envelope.meta.id.uuid()),
                    time: Some(envelope.meta.time),
                    kind: Some(kind),
                    subject: subject(&envelope.aggregate.to_string()),
                    actor: Some(actors.view(app, envelope.origin.actor)),
                    request_id: cause.strip_prefix("request:").map(str::to_owned),
                    cause: Some(cause),
                    data: shown(data),
                    unreadable: None,
                }
            }
            Self::Unreadable(unreadable) => AuditEvent {
                position,
                sequence,
                id: None,
                time: None,
                kind: None,
                subject: subject(&unreadable.subject),
                actor: None,
                cause: None,
                request_id: None,
                data: Value::Null,
                unreadable: Some(unreadable.why),
            },
        }
    }
}

/// The body with [`NOT_SHOWN`] in place of each personal value, and null in place of each erased one.
fn without_personal_values(data: Value) -> Value {
    match data {
        Value::Object(members) => match members.get(MARKER) {
            Some(Value::Null) => Value::Null,
            Some(_) => NOT_SHOWN.into(),
            None => members.into_iter().map(|(name, value)| (name, without_personal_values(value))).collect(),
        },
        Value::Array(items) => items.into_iter().map(without_personal_values).collect(),
        plain => plain,
    }
}

/// The body with each personal value in plain, without secrets.
fn with_personal_values(data: Value) -> Value {
    match data {
        Value::Object(mut members) => match members.remove(MARKER) {
            Some(value) => value,
            None => {
                members.retain(|name, _| !SECRETS.contains(&name.as_str()));
                members.into_iter().map(|(name, value)| (name, with_personal_values(value))).collect()
            }
        },
        Value::Array(items) => items.into_iter().map(with_personal_values).collect(),
        plain => plain,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::testing::golden_events;

    #[test]
    fn without_personal_values_shows_none_at_any_depth() {
        let data = json!({
            "name": { "$personal": "web" },
            "erased": { "$personal": null },
            "after": [{ "message": { "$personal": { "deep": "secret" } }, "code": "late" }],
            "limits": { "pids": 32 },
        });
        let expected = json!({
            "name": "(personal)",
            "erased": null,
            "after": [{ "message": "(personal)", "code": "late" }],
            "limits": { "pids": 32 },
        });
        assert_eq!(without_personal_values(data), expected);
    }

    /// Each event of the golden files, so that a new member can't show what a person typed.
    #[test]
    fn without_personal_values_has_no_personal_value_of_any_golden_event() {
        let mut marked = 0;
        for (_, event) in golden_events() {
            let data = event.encode().unwrap().data;
            let mut personal = Vec::new();
            collect(&data, &mut personal);
            marked += personal.len();
            let shown = without_personal_values(data).to_string();
            for value in personal.iter().filter_map(Value::as_str) {
                assert!(!shown.contains(value), "{value} in {shown}");
            }
            assert!(!shown.contains(MARKER), "{shown}");
        }
        assert!(marked > 10, "{marked}");
    }

    /// Each event of the golden files, so that a new member can't show what a password or a token is checked with.
    #[test]
    fn with_personal_values_has_no_secret_of_any_golden_event() {
        let mut opened = 0;
        for (file, event) in golden_events() {
            let shown = with_personal_values(event.encode().unwrap().data).to_string();
            opened += usize::from(shown.contains("ada"));
            for secret in ["$argon2", "erifier", "ecretHash", "whsec_", MARKER] {
                assert!(!shown.contains(secret), "{file}: {secret} in {shown}");
            }
        }
        assert!(opened > 2, "{opened}");
    }

    fn collect(data: &Value, found: &mut Vec<Value>) {
        match data {
            Value::Object(members) => {
                found.extend(members.get(MARKER).cloned());
                members.values().for_each(|value| collect(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
}
