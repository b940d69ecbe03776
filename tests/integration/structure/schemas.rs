//! The JSON Schemas of the contract for backends against the golden messages, in both directions: every message is
//! valid, and the schemas describe every member.

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::{files, text};

/// The schema in which no object may have members that it doesn't describe. The published schemas allow them, because
/// receivers ignore members that they don't know.
fn closed(schema: &Value) -> Value {
    match schema {
        Value::Object(keywords) => {
            let mut object: Map<_, _> = keywords.iter().map(|(name, rule)| (name.clone(), closed(rule))).collect();
            if keywords.contains_key("properties") {
                object.insert("additionalProperties".to_owned(), json!(false));
            }
            Value::Object(object)
        }
        Value::Array(items) => items.iter().map(closed).collect(),
        other => other.clone(),
    }
}

/// Members that a message may lack.
const OPTIONAL: [&str; 16] = [
    "authorizedKeys",
    "apiKey",
    "awaitsApproval",
    "container",
    "ended",
    "hostKeys",
    "agentRun",
    "keyDigest",
    "leaving",
    "engine",
    "image",
    "isolation",
    "reportsCreatedAt",
    "size",
    "overcommit",
    "sshConnections",
];

/// The golden messages, each with its schema.
fn messages() -> Vec<(String, Value, Value)> {
    let mut found = Vec::new();
    for path in files("domain/golden/wire", ".json") {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let schema = name.split('-').next().unwrap_or_default();
        let schema: Value = serde_json::from_str(&text(format!("docs/schemas/{schema}.json"))).unwrap();
        let messages: Vec<Value> = serde_json::from_str(&text(&path)).unwrap();
        found.extend(messages.into_iter().map(|message| (name.clone(), schema.clone(), message)));
    }
    found
}

fn validator(schema: &Value) -> Validator {
    jsonschema::validator_for(schema).unwrap()
}

#[test]
fn schemas_golden_messages_are_valid() {
    for (name, schema, message) in messages() {
        for schema in [&schema, &closed(&schema)] {
            validator(schema).validate(&message).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[test]
fn schemas_extra_wrong_and_missing_members_are_invalid() {
    for (name, schema, message) in messages() {
        let (open, closed) = (validator(&schema), validator(&closed(&schema)));
        let changed = |change: &dyn Fn(&mut Map<String, Value>)| {
            let mut message = message.clone();
            change(message.as_object_mut().unwrap());
            message
        };
        let extra = changed(&|message| drop(message.insert("surprise".to_owned(), json!(1))));
        assert!(open.is_valid(&extra), "{name}: the schema forbids members that receivers ignore");
        assert!(!closed.is_valid(&extra), "{name}: a member that no schema describes is valid");
        for member in message.as_object().unwrap().keys() {
            let wrong = changed(&|message| drop(message.insert(member.clone(), json!([-1]))));
            assert!(!open.is_valid(&wrong), "{name}: {member} may have any value");
            if OPTIONAL.contains(&member.as_str()) {
                continue;
            }
            let less = changed(&|message| drop(message.remove(member)));
            assert!(!open.is_valid(&less), "{name}: {member} may be missing");
        }
    }
}
