//! Old versions of events, converted before they are decoded.

use serde_json::{Value, json};

use super::Encoded;
use crate::personal::MARKER;

/// The conversion from an old version of an event to the current one; `None` for a current or unknown type. A new version
/// adds an arm here and keeps the old golden file.
#[must_use]
pub fn upcast(kind: &str) -> Option<fn(Encoded) -> Encoded> {
    match kind {
        "dockhost.backend.enrolled.v1" => Some(enrolled_v1),
        "dockhost.instance.failed.v1" => Some(failed_v1),
        "dockhost.instance.placed.v1" => Some(placed_v1),
        _ => None,
    }
}

/// Before version 2, nobody had to approve a backend.
fn enrolled_v1(Encoded { mut data, .. }: Encoded) -> Encoded {
    if let Some(members) = data.as_object_mut() {
        members.insert("awaitsApproval".to_owned(), json!(false));
    }
    Encoded { kind: "dockhost.backend.enrolled.v2".to_owned(), data }
}

/// Version 1 has the backend's message in plain; since version 2 it is personal.
fn failed_v1(Encoded { mut data, .. }: Encoded) -> Encoded {
    mark_personal(&mut data, "/setback/reason/message");
    Encoded { kind: "dockhost.instance.failed.v2".to_owned(), data }
}

/// As [`failed_v1`].
fn placed_v1(Encoded { mut data, .. }: Encoded) -> Encoded {
    mark_personal(&mut data, "/after/reason/message");
    Encoded { kind: "dockhost.instance.placed.v2".to_owned(), data }
}

fn mark_personal(data: &mut Value, pointer: &str) {
    if let Some(value) = data.pointer_mut(pointer) {
        *value = json!({ MARKER: value.take() });
    }
}
