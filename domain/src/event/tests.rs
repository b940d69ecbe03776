//! Every event in its written form: what was shipped stays readable and is written the same way again.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::testing::golden;

/// A body of an event, and the subject that it stands on.
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

/// Read from a tree and from text, which must come to the same.
fn decode(subject: &AggregateId, event: Encoded) -> Result<Event, UnreadableEvent> {
    let text = Event::decode_text(subject, &event.kind, &serde_json::to_vec(&event.data).unwrap());
    let tree = Event::decode(subject, event);
    assert_eq!(text.as_ref().ok(), tree.as_ref().ok());
    if let (Err(text), Err(tree)) = (&text, &tree) {
        assert_eq!((&text.kind, &text.subject), (&tree.kind, &tree.subject));
    }
    tree
}

/// Names the variants once: as a `match` that does not compile when one is missing, and as the list of what must have
/// a golden file.
macro_rules! every_event {
    ($($event:ident::$variant:ident => $kind:literal),* $(,)?) => {
        const KINDS: &[&str] = &[$($kind),*];

        fn kind(event: &Event) -> &'static str {
            use crate::account::AccountEvent as Account;
            use crate::backend::BackendEvent as Backend;
            use crate::claim::ClaimEvent as Claim;
            use crate::session::SessionEvent as Session;
            use crate::tenancy::TenancyEvent as Tenancy;
            match event {
                $(Event::$event($event::$variant(_)) => $kind),*
            }
        }
    };
}

every_event! {
    Account::Created => "dockhost.account.created.v1",
    Account::Erased => "dockhost.account.erased.v1",
    Claim::Taken => "dockhost.claim.taken.v1",
    Claim::Released => "dockhost.claim.released.v1",
    Session::Started => "dockhost.session.started.v1",
    Session::Revoked => "dockhost.session.revoked.v1",
    Session::Closed => "dockhost.session.closed.v1",
    Backend::Enrolled => "dockhost.backend.enrolled.v1",
    Backend::Connected => "dockhost.backend.connected.v1",
    Backend::Lost => "dockhost.backend.lost.v1",
    Tenancy::Requested => "dockhost.instance.requested.v1",
    Tenancy::Placed => "dockhost.instance.placed.v1",
    Tenancy::Observed => "dockhost.instance.observed.v1",
    Tenancy::StopRequested => "dockhost.instance.stop-requested.v1",
    Tenancy::ResumeRequested => "dockhost.instance.resume-requested.v1",
    Tenancy::DeleteRequested => "dockhost.instance.delete-requested.v1",
    Tenancy::Failed => "dockhost.instance.failed.v1",
    Tenancy::Deleted => "dockhost.instance.deleted.v1",
    Tenancy::Released => "dockhost.instance.released.v1",
    Tenancy::Closed => "dockhost.tenancy.closed.v1",
}

fn all() -> impl Iterator<Item = Golden> {
    golden::names("").into_iter().flat_map(|name| {
        let bodies: Vec<Golden> = golden::read(&name);
        assert!(!bodies.is_empty(), "{name} is empty");
        for body in &bodies {
            assert_eq!(format!("{}.json", body.event.kind), name, "a file holds one version of one event");
        }
        bodies
    })
}

#[test]
fn every_event_that_can_be_written_has_a_golden_file() {
    let there: BTreeSet<String> = all().map(|golden| golden.event.kind).collect();
    for kind in KINDS {
        assert!(there.contains(*kind), "golden/{kind}.json is missing");
    }
}

#[test]
fn every_golden_body_is_read_and_written_the_same_way_again() {
    for golden in all() {
        let event = golden.decode().unwrap();
        let again = event.encode().unwrap();
        assert_eq!(again.kind, kind(&event), "the variant's name in the log is not the one listed here");
        // An old version is read as the present one, which is not written like it.
        if again.kind == golden.event.kind {
            assert_eq!(again, golden.event);
        }
    }
}

/// A reason or an end that no golden file shows could be renamed unseen.
#[test]
fn the_golden_bodies_show_every_word() {
    fn words(value: &Value, under: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| words(value, name, found)),
            Value::Array(values) => values.iter().for_each(|value| words(value, under, found)),
            Value::String(word) if ["kind", "phase", "role"].contains(&under) => drop(found.insert(word.clone())),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    all().for_each(|golden| words(&golden.event.data, "", &mut found));
    let all = ["abandoned", "confirmed", "failed", "late", "lost", "refused", "running", "stopped", "unplaced", "user"];
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

#[test]
fn every_optional_member_is_shown_present_and_absent() {
    let shown = |kind: &str, member: &str| -> BTreeSet<bool> {
        let bodies = all().filter(|golden| golden.event.kind == kind);
        bodies.map(|golden| !golden.event.data[member].is_null()).collect()
    };
    for (kind, member) in [
        ("dockhost.account.created.v1", "sshPublicKey"),
        ("dockhost.backend.enrolled.v1", "labName"),
        ("dockhost.backend.enrolled.v1", "operatingSystem"),
        ("dockhost.instance.requested.v1", "image"),
        ("dockhost.instance.requested.v1", "idempotency"),
        ("dockhost.instance.observed.v1", "deadline"),
        ("dockhost.instance.failed.v1", "report"),
    ] {
        assert_eq!(shown(kind, member), [false, true].into(), "{member} of {kind}");
    }
}

#[test]
fn an_event_on_a_foreign_subject_is_unreadable() {
    let subjects: BTreeSet<String> = all().map(|golden| golden.subject).collect();
    assert_eq!(subjects.len(), 5, "one subject for each kind of aggregate");
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
fn an_unknown_version_or_another_shape_is_unreadable() {
    for golden in all() {
        let (subject, event) = (golden.subject.parse().unwrap(), golden.event);
        let unreadable = |event: Encoded| {
            let kind = event.kind.clone();
            let error = decode(&subject, event).unwrap_err();
            assert_eq!((error.kind, error.subject), (kind, golden.subject.clone()));
        };
        unreadable(Encoded { kind: event.kind.replace(".v1", ".v99"), ..event.clone() });
        unreadable(Encoded { kind: String::new(), ..event.clone() });
        for data in [Value::Null, json!("text"), json!([]), json!({}), json!({ "$personal": "x" })] {
            unreadable(Encoded { data, ..event.clone() });
        }
        // Whichever member that must be there is missing or of another shape.
        for member in event.data.as_object().unwrap().keys().filter(|member| !event.data[*member].is_null()) {
            let mut data = event.data.clone();
            data[member] = json!([[]]);
            unreadable(Encoded { data, ..event.clone() });
        }
    }
}

#[test]
fn a_body_ends_where_its_value_does() {
    let golden = all().next().unwrap();
    let body = format!("{} {{}}", golden.event.data);
    let error = Event::decode_text(&golden.subject.parse().unwrap(), &golden.event.kind, body.as_bytes()).unwrap_err();
    assert!(error.why.contains("trailing"), "{error}");
}

/// Agents of earlier releases used other codes, such as `told_to_refuse`.
#[test]
fn event_with_a_code_no_longer_in_use_is_read() {
    let code = |event: &mut Encoded, member: &str| match event.data[member].pointer_mut("/reason/code") {
        Some(code) => std::mem::replace(code, json!("told_to_refuse")) != Value::Null,
        None => false,
    };
    let mut replaced = 0;
    for golden in all() {
        let mut event = golden.event.clone();
        for member in ["after", "setback"] {
            if event.data.get(member).is_some() && code(&mut event, member) {
                replaced += 1;
                let read = decode(&golden.subject.parse().unwrap(), event.clone()).unwrap();
                assert_eq!(read.encode().unwrap(), event);
            }
        }
    }
    assert!(replaced > 0);
}

/// A later release may add what this one does not need.
#[test]
fn an_unknown_member_is_ignored() {
    for golden in all() {
        let mut event = golden.event.clone();
        event.data["later"] = json!({ "x": 1 });
        assert_eq!(decode(&golden.subject.parse().unwrap(), event).unwrap(), golden.decode().unwrap());
    }
}

/// Whoever prints an event for debugging prints nothing personal.
#[test]
fn debug_shows_nothing_personal() {
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
    let mut seen = 0;
    for golden in all() {
        let mut values = Vec::new();
        personal(&golden.event.data, &mut values);
        let shown = format!("{:?}", golden.decode().unwrap());
        for value in values {
            seen += 1;
            assert!(!shown.contains(&format!("{value:?}")), "{shown}");
        }
    }
    assert!(seen > 0);
}
