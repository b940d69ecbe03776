//! The contract for backends as a document (AsyncAPI 3.0), from a backend's point of view: what it sends to the broker and
//! receives. The messages are described by the JSON Schemas in `docs/schemas/`, `docs/EVENTS.md` has the rules.

use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::subject::Channel;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The schemas by the names of their messages.
const SCHEMAS: [(&str, &str); 8] = [
    ("answer", include_str!("../../docs/schemas/answer.json")),
    ("assignment", include_str!("../../docs/schemas/assignment.json")),
    ("confirm", include_str!("../../docs/schemas/confirm.json")),
    ("confirmed", include_str!("../../docs/schemas/confirmed.json")),
    ("heartbeat", include_str!("../../docs/schemas/heartbeat.json")),
    ("hello", include_str!("../../docs/schemas/hello.json")),
    ("report", include_str!("../../docs/schemas/report.json")),
    ("welcome", include_str!("../../docs/schemas/welcome.json")),
];

/// An operation of a backend: its message, and the message that answers it.
struct Operation {
    message: &'static str,
    subject: Channel,
    answer: Option<&'static str>,
    summary: &'static str,
}

const BACKEND: BackendId = BackendId::from_uuid(Uuid::from_u128(1));
const INSTANCE: InstanceId = InstanceId::from_uuid(Uuid::from_u128(2));

/// What a backend sends.
const SENT: [Operation; 4] = [
    Operation {
        message: "hello",
        subject: Channel::Hello(BACKEND),
        answer: Some("welcome"),
        summary: "After each connection: asks for a consumer of the assignments.",
    },
    Operation {
        message: "confirm",
        subject: Channel::Confirm(BACKEND),
        answer: Some("confirmed"),
        summary: "Before a container is created: asks whether the assignment is still current.",
    },
    Operation {
        message: "report",
        subject: Channel::Report(BACKEND),
        answer: None,
        summary: "Says what an instance's container is. The broker answers with `stream` and `seq` when it is stored.",
    },
    Operation {
        message: "heartbeat",
        subject: Channel::Heartbeat(BACKEND),
        answer: Some("answer"),
        summary: "Every 5 s, and after each change.",
    },
];

/// The document.
///
/// # Errors
/// A schema is not JSON.
pub fn document() -> Result<Value, serde_json::Error> {
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for (name, text) in SCHEMAS {
        let mut payload: Map<String, Value> = serde_json::from_str(text)?;
        // It would name another dialect than the document's.
        payload.remove("$schema");
        let title = payload.get("title").cloned().unwrap_or_default();
        messages
            .insert(name.to_owned(), json!({ "title": title, "contentType": "application/json", "payload": payload }));
    }
    for Operation { message, subject, answer, summary } in SENT {
        channels.insert(message.to_owned(), channel(subject, message));
        let mut operation = json!({
            "action": "send", "summary": summary, "channel": reference("channels", message),
            "messages": [{ "$ref": format!("#/channels/{message}/messages/{message}") }],
        });
        if let Some(answer) = answer {
            operation["reply"] = json!({
                "address": { "location": "$message.header#/reply", "description": "Below `_INBOX.{backendId}`." },
                "channel": reference("channels", &format!("{answer}Inbox")),
            });
            let inbox = json!({ "address": null, "messages": { answer: reference("components/messages", answer) } });
            channels.insert(format!("{answer}Inbox"), inbox);
        }
        operations.insert(format!("send{}", capitalised(message)), operation);
    }
    channels.insert("assignment".to_owned(), channel(Channel::Assignment(BACKEND, INSTANCE), "assignment"));
    let summary = "Pulled from the consumer that the welcome names: the whole desired state of one instance.";
    operations.insert(
        "receiveAssignment".to_owned(),
        json!({
            "action": "receive", "summary": summary, "channel": reference("channels", "assignment"),
            "messages": [{ "$ref": "#/channels/assignment/messages/assignment" }],
        }),
    );
    Ok(json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "DockHost backends",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What a backend sends and receives. `docs/EVENTS.md` in the repository has the rules that keep \
                            users' files safe, and `examples/backend` is a complete backend.",
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "{address}",
                "protocol": "nats",
                "variables": { "address": { "description": "Host and port of the broker." } },
                "security": [reference("components/securitySchemes", "apiKey")],
            },
        },
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "securitySchemes": {
                "apiKey": {
                    "type": "apiKey",
                    "in": "password",
                    "description": "`DOCKHOST_API_KEY` as the token of the connection (`auth_token`), without a user.",
                },
            },
        },
    }))
}

/// A channel with one message.
fn channel(subject: Channel, message: &str) -> Value {
    let placeholders = [(BACKEND.to_string(), "backendId"), (INSTANCE.to_string(), "instanceId")];
    let (mut address, mut parameters) = (subject.to_string(), Map::new());
    for (id, name) in placeholders {
        if address.contains(&id) {
            address = address.replace(&id, &format!("{{{name}}}"));
            parameters.insert(name.to_owned(), json!({ "description": "A UUID." }));
        }
    }
    let messages = json!({ message: reference("components/messages", message) });
    json!({ "address": address, "parameters": parameters, "messages": messages })
}

fn reference(place: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/{place}/{name}") })
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// All references in a value.
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get("$ref") {
                    found.insert(target.clone());
                }
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn document_references_resolve_and_each_schema_is_a_message_in_use() {
        let document = document().unwrap();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for target in &found {
            assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
        }
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schemas");
        for file in std::fs::read_dir(directory).unwrap() {
            let name = file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
            assert!(found.contains(&format!("#/components/messages/{name}")), "{name} is in no channel");
        }
    }

    #[test]
    fn document_addresses_are_the_subjects_of_the_broker() {
        let document = document().unwrap();
        let address = |name: &str| document["channels"][name]["address"].as_str().unwrap().to_owned();
        assert_eq!(address("hello"), "dockhost.hello.{backendId}");
        assert_eq!(address("report"), "dockhost.report.{backendId}");
        assert_eq!(address("assignment"), "dockhost.assignment.{backendId}.{instanceId}");
        assert_eq!(document["operations"]["sendConfirm"]["reply"]["channel"]["$ref"], "#/channels/confirmedInbox");
        assert_eq!(document["operations"].as_object().unwrap().len(), 5);
    }
}
