//! Whether a program that decodes some documents can be expected to decode others, by their members and JSON types.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What documents have at one path.
#[derive(Debug, Default, Clone, PartialEq)]
struct Shape {
    types: BTreeSet<&'static str>,
    /// For objects: the members that all of them have.
    required: Option<BTreeSet<String>>,
}

/// Whether the object under this name is a map, whose keys are not members: the labels of a machine, and those that an
/// instance requires.
pub(super) fn is_map(name: &str) -> bool {
    ["labels", "requires"].contains(&name)
}

/// What in the newer documents the program of the older ones may not decode: a type that the older documents don't have at
/// that path, or the lack of a member that all of them have. It ignores members that the older documents don't have.
pub(super) fn problems(older: &[Value], newer: &[Value]) -> Vec<String> {
    let (older, newer) = (shapes(older), shapes(newer));
    let mut problems = Vec::new();
    for (path, newer) in newer {
        let Some(older) = older.get(&path) else { continue };
        problems.extend(newer.types.difference(&older.types).map(|kind| format!("{path} is now {kind}")));
        if let (Some(needed), Some(present)) = (&older.required, &newer.required) {
            problems.extend(needed.difference(present).map(|member| format!("{path}.{member} may be absent")));
        }
    }
    problems
}

/// The sample, and those of the others without which a form of a document would be missing.
pub(super) fn add_missing_forms(mut sample: Vec<Value>, others: Vec<Value>) -> Vec<Value> {
    let mut shapes = shapes(&sample);
    for document in others {
        let mut extended = shapes.clone();
        collect("", &document, &mut extended);
        if extended != shapes {
            shapes = extended;
            sample.push(document);
        }
    }
    sample
}

fn shapes(documents: &[Value]) -> BTreeMap<String, Shape> {
    let mut shapes = BTreeMap::new();
    documents.iter().for_each(|document| collect("", document, &mut shapes));
    shapes
}

fn collect(path: &str, value: &Value, shapes: &mut BTreeMap<String, Shape>) {
    let shape = shapes.entry(path.to_owned()).or_default();
    shape.types.insert(match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    });
    match value {
        Value::Object(_) if path.rsplit('.').next().is_some_and(is_map) => {}
        Value::Object(members) => {
            // The keys of a map with ids as keys are not members.
            let name = |key: &String| if key.parse::<uuid::Uuid>().is_ok() { "*".to_owned() } else { key.clone() };
            let present: BTreeSet<String> = members.keys().map(name).filter(|name| name != "*").collect();
            shape.required = Some(match shape.required.take() {
                Some(required) => required.intersection(&present).cloned().collect(),
                None => present,
            });
            for (key, value) in members {
                collect(&format!("{path}.{}", name(key)), value, shapes);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(&format!("{path}[]"), value, shapes)),
        _ => {}
    }
}

#[test]
fn problems_names_what_an_older_program_may_not_decode() {
    use serde_json::json;

    let id = "0193b3a0-0000-7000-8000-000000000001";
    let older =
        [json!({"a": 1, "b": {"x": [1]}, "c": null, "m": {id: 1}}), json!({"a": 2, "b": {"x": []}, "c": "text"})];
    let compatible = [json!({"a": 3, "b": {"x": [2], "new": {}}, "c": null, "m": {}, "new": [true]})];
    assert_eq!(problems(&older, &compatible), Vec::<String>::new());
    let broken = [json!({"a": "3", "b": {"x": ["2"]}, "m": {id: "1"}}), json!({"a": 1, "b": {}, "c": false})];
    let expected = [
        ".a is now a string",
        ".b.x may be absent",
        ".b.x[] is now a string",
        ".c is now a boolean",
        ".c may be absent",
        ".m.* is now a string",
    ];
    let mut found = problems(&older, &broken);
    found.sort();
    assert_eq!(found, expected);
}
