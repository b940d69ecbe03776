//! The encoding of every event: released bodies stay readable and round-trip.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::golden;

/// An event's body and subject.
#[derive(Deserialize)]
struct Golden {
    subject: String,
    #[serde(flatten)]
    event: Encoded,
}

impl Golden {
    fn decode(&self) -> Result<Event, UnreadableEvent> {
        decode(&self.subject.parse().unwrap(), self.event.clone())
    }
}

/// Decodes from a [`Value`] and from text, and checks that the results are equal.
fn decode(subject: &AggregateId, event: Encoded) -> Result<Event, UnreadableEvent> {
    let text = Event::decode_text(subject, &event.kind, &serde_json::to_vec(&event.data).unwrap());
    let value = Event::decode(subject, event);
    assert_eq!(text.as_ref().ok(), value.as_ref().ok());
    if let (Err(text), Err(value)) = (&text, &value) {
        assert_eq!((&text.kind, &text.subject), (&value.kind, &value.subject));
    }
    value
}

/// The types of one aggregate's events: serde names all of them when it rejects an unknown one.
fn types_of<E: DeserializeOwned>() -> Vec<String> {
    let error = serde_json::from_value::<E>(json!({ "type": "unknown", "data": {} })).err().unwrap().to_string();
    let (_, expected) = error.split_once("expected ").unwrap();
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The types of all events.
fn types() -> BTreeSet<String> {
    let types = [
        types_of::<AccountEvent>(),
        types_of::<AdministratorsEvent>(),
        types_of::<BackendEvent>(),
        types_of::<ClaimEvent>(),
        types_of::<EnrolmentTokensEvent>(),
        types_of::<InvitationsEvent>(),
        types_of::<GroupsEvent>(),
        types_of::<RefusalsEvent>(),
        types_of::<SessionEvent>(),
        types_of::<TenancyEvent>(),
        types_of::<WebhooksEvent>(),
    ];
    types.into_iter().flatten().collect()
}

/// The type of an event in a version that no program has.
fn unknown_version(kind: &str) -> String {
    format!("{}.v99", kind.rsplit_once('.').unwrap().0)
}

fn all() -> impl Iterator<Item = Golden> {
    golden::names("").into_iter().flat_map(|name| {
        let bodies: Vec<Golden> = golden::read(&name);
        assert!(!bodies.is_empty(), "{name} is empty");
        for body in &bodies {
            // Members that were added to a released version are in a file of their own, such as `….v2-removed.json`.
            let rest = name.strip_prefix(&body.event.kind).unwrap_or_default();
            let is_of_kind = rest == ".json" || (rest.starts_with('-') && rest.ends_with(".json"));
            assert!(is_of_kind, "{name} holds a {}: a file holds one version of one event", body.event.kind);
        }
        bodies
    })
}

#[test]
fn event_of_each_type_has_a_golden_file() {
    let existing: BTreeSet<String> = all().map(|golden| golden.event.kind).collect();
    for kind in types() {
        assert!(kind.starts_with("dockhost."), "{kind} is a variant without its type");
        assert!(existing.contains(&kind), "golden/{kind}.json is missing");
    }
}

#[test]
fn event_of_each_golden_file_round_trips() {
    for golden in all() {
        let event = golden.decode().unwrap();
        let encoded = event.encode().unwrap();
        assert!(types().contains(&encoded.kind), "{} is no current type", encoded.kind);
        // An old version is decoded as the current one.
        if encoded.kind == golden.event.kind {
            assert_eq!(encoded, golden.event);
        }
    }
}

/// The type of a failure changed when the backend's message became personal.
#[test]
fn event_of_an_old_version_is_decoded_as_the_current_one() {
    for (old, new, failure) in [
        ("dockhost.instance.failed.v1", "dockhost.instance.failed.v2", "setback"),
        ("dockhost.instance.placed.v1", "dockhost.instance.placed.v2", "after"),
    ] {
        let mut messages = 0;
        for golden in all().filter(|golden| golden.event.kind == old) {
            let mut expected = golden.event.clone();
            expected.kind = new.to_owned();
            if let Some(message) = expected.data.pointer_mut(&format!("/{failure}/reason/message")) {
                messages += 1;
                *message = json!({ "$personal": message.take() });
            }
            assert_eq!(golden.decode().unwrap().encode().unwrap(), expected);
        }
        assert!(messages > 0, "{old}");
    }
}

#[test]
fn event_enrolled_before_approvals_existed_awaits_none() {
    let awaits = |version: u8| -> BTreeSet<bool> {
        let kind = format!("dockhost.backend.enrolled.v{version}");
        let golden = all().filter(|golden| golden.event.kind == kind);
        let awaits = golden.map(|golden| match golden.decode().unwrap() {
            Event::Backend(BackendEvent::Enrolled(enrolled)) => enrolled.awaits_approval,
            other => panic!("{other:?}"),
        });
        awaits.collect()
    };
    assert_eq!(awaits(1), [false].into());
    assert_eq!(awaits(2), [false, true].into());
}

/// Renaming a word that no golden file contains would go unnoticed.
#[test]
fn golden_files_contain_every_enum_value() {
    fn collect(value: &Value, under: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| collect(value, name, found)),
            Value::Array(values) => values.iter().for_each(|value| collect(value, under, found)),
            Value::String(text)
                if ["cause", "instances", "kind", "phase", "restart", "role", "wanted"].contains(&under) =>
            {
                found.insert(text.clone());
            }
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    all().for_each(|golden| collect(&golden.event.data, "", &mut found));
    let all = [
        "abandoned",
        "admin",
        "confirmed",
        "deleted",
        "engine_restarted",
        "exited",
        "failed",
        "forbidden",
        "killed",
        "late",
        "leave",
        "lost",
        "never",
        "out_of_memory",
        "refused",
        "running",
        "sign-in",
        "stop",
        "stopped",
        "unauthorized",
        "unknown",
        "unplaced",
        "user",
    ];
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

#[test]
fn golden_files_contain_each_optional_member_and_its_absence() {
    let presence = |kind: &str, member: &str| -> BTreeSet<bool> {
        let bodies = all().filter(|golden| golden.event.kind == kind);
        bodies.map(|golden| !golden.event.data[member].is_null()).collect()
    };
    for (kind, member) in [
        ("dockhost.account.created.v1", "sshPublicKey"),
        ("dockhost.account.disabled.v1", "reason"),
        ("dockhost.backend.enrolled.v1", "labName"),
        ("dockhost.backend.enrolled.v1", "operatingSystem"),
        ("dockhost.backend.enrolled.v2", "labName"),
        ("dockhost.backend.enrolled.v2", "operatingSystem"),
        ("dockhost.tenancy.quota-set.v1", "instances"),
        ("dockhost.tenancy.quota-set.v1", "cpuMillis"),
        ("dockhost.tenancy.quota-set.v1", "memoryMib"),
        ("dockhost.instance.administered.v1", "reason"),
        ("dockhost.instance.requested.v1", "image"),
        ("dockhost.instance.requested.v1", "idempotency"),
        ("dockhost.instance.observed.v1", "deadline"),
        ("dockhost.instance.failed.v2", "report"),
        ("dockhost.backend.enrolled.v2", "token"),
        ("dockhost.enrolment-token.created.v1", "maxContainers"),
        ("dockhost.invitation.created.v1", "maxInstances"),
        ("dockhost.group.created.v1", "maxInstances"),
        ("dockhost.group.created.v1", "maxCpuMillis"),
        ("dockhost.group.created.v1", "maxMemoryMib"),
        ("dockhost.group.created.v1", "endsAt"),
        ("dockhost.group.changed.v1", "maxInstances"),
        ("dockhost.group.changed.v1", "maxCpuMillis"),
        ("dockhost.group.changed.v1", "maxMemoryMib"),
        ("dockhost.group.changed.v1", "endsAt"),
        ("dockhost.account.group-changed.v1", "groupId"),
        ("dockhost.webhook.added.v1", "filter"),
        ("dockhost.webhook.resumed.v1", "after"),
    ] {
        assert_eq!(presence(kind, member), [false, true].into(), "{member} of {kind}");
    }
}

#[test]
fn event_on_the_subject_of_another_aggregate_is_unreadable() {
    let subjects: BTreeSet<String> = all().map(|golden| golden.subject).collect();
    assert_eq!(subjects.len(), 11, "one subject per kind of aggregate");
    for golden in all() {
        for foreign in subjects.iter().filter(|subject| **subject != golden.subject) {
            let error = decode(&foreign.parse().unwrap(), golden.event.clone()).unwrap_err();
            assert_eq!((&error.kind, &error.subject), (&golden.event.kind, foreign));
            let text = error.to_string();
            assert!(text.contains(&golden.event.kind) && text.contains(foreign), "{text}");
        }
    }
}

#[test]
fn event_of_unknown_version_or_malformed_is_unreadable() {
    for golden in all() {
        let (subject, event) = (golden.subject.parse().unwrap(), golden.event);
        let assert_unreadable = |event: Encoded| {
            let kind = event.kind.clone();
            let error = decode(&subject, event).unwrap_err();
            assert_eq!((error.kind, error.subject), (kind, golden.subject.clone()));
        };
        assert_unreadable(Encoded { kind: unknown_version(&event.kind), ..event.clone() });
        assert_unreadable(Encoded { kind: String::new(), ..event.clone() });
        let mut malformed = vec![Value::Null, json!("text")];
        if event.data != json!({}) {
            malformed.extend([json!([]), json!({}), json!({ "$personal": "x" })]);
        }
        for data in malformed {
            assert_unreadable(Encoded { data, ..event.clone() });
        }
        // Each required member in turn is malformed.
        for member in event.data.as_object().unwrap().keys().filter(|member| !event.data[*member].is_null()) {
            let mut data = event.data.clone();
            data[member] = json!([[]]);
            assert_unreadable(Encoded { data, ..event.clone() });
        }
    }
}

#[test]
fn event_with_trailing_text_is_unreadable() {
    let golden = all().next().unwrap();
    let body = format!("{} {{}}", golden.event.data);
    let error = Event::decode_text(&golden.subject.parse().unwrap(), &golden.event.kind, body.as_bytes()).unwrap_err();
    assert!(error.why.contains("trailing"), "{error}");
}

/// Earlier releases had further codes, such as `told_to_refuse`.
#[test]
fn event_with_a_former_code_round_trips() {
    let mut replaced = 0;
    for golden in all() {
        for code in ["/after/reason/code", "/setback/reason/code"] {
            let mut event = golden.event.clone();
            let Some(code) = event.data.pointer_mut(code) else { continue };
            *code = json!("told_to_refuse");
            replaced += 1;
            let decoded = decode(&golden.subject.parse().unwrap(), event.clone()).unwrap().encode().unwrap();
            let expected = upcast(&event.kind).map_or(event.clone(), |upcast| upcast(event));
            assert_eq!(decoded, expected);
        }
    }
    assert!(replaced > 0);
}

/// A later release may add members.
#[test]
fn event_with_an_unknown_member_is_read() {
    for golden in all() {
        let mut event = golden.event.clone();
        event.data["later"] = json!({ "x": 1 });
        assert_eq!(decode(&golden.subject.parse().unwrap(), event).unwrap(), golden.decode().unwrap());
    }
}

#[test]
fn event_debug_output_hides_personal_values() {
    fn personal(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => match members.get(crate::personal::MARKER) {
                Some(Value::String(text)) => found.push(text.clone()),
                _ => members.values().for_each(|value| personal(value, found)),
            },
            Value::Array(values) => values.iter().for_each(|value| personal(value, found)),
            _ => {}
        }
    }
    let mut checked = 0;
    for golden in all() {
        let mut values = Vec::new();
        personal(&golden.event.data, &mut values);
        let debug = format!("{:?}", golden.decode().unwrap());
        for value in values {
            checked += 1;
            assert!(!debug.contains(&format!("{value:?}")), "{debug}");
        }
    }
    assert!(checked > 0);
}
