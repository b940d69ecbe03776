//! The JSON Schemas of the contract for backends against the golden messages, in both directions: every message fits
//! its schema, and the schemas describe every member.
//!
//! A checker of our own for the few keywords that these schemas use; a keyword that it doesn't know fails the test.

use serde_json::{Map, Value, json};

use super::{files, text};

/// What is wrong with a value, if anything.
fn check(schema: &Value, value: &Value) -> Result<(), String> {
    for (keyword, rule) in schema.as_object().unwrap() {
        let good = match keyword.as_str() {
            "$schema" | "title" | "description" => true,
            "type" => is_type(rule.as_str().unwrap(), value),
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_some_and(|n| n >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_some_and(|n| n <= rule.as_f64().unwrap()),
            "minLength" => value.as_str().is_some_and(|text| text.chars().count() as u64 >= rule.as_u64().unwrap()),
            "pattern" => value.as_str().is_some_and(|text| matches(rule.as_str().unwrap(), text)),
            "required" => rule.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
            "items" => return_all(value.as_array().unwrap().iter().map(|item| check(rule, item)))?,
            "properties" => {
                let value = value.as_object().ok_or("no object")?;
                return_all(value.iter().map(|(name, member)| {
                    let rule = rule.get(name).ok_or_else(|| format!("{name} is not described"))?;
                    check(rule, member).map_err(|wrong| format!("{name}: {wrong}"))
                }))?
            }
            "oneOf" => rule.as_array().unwrap().iter().filter(|one| check(one, value).is_ok()).count() == 1,
            unknown => panic!("the schemas use {unknown}, which this test doesn't know"),
        };
        if !good {
            return Err(format!("{value} is against {keyword}: {rule}"));
        }
    }
    Ok(())
}

fn return_all(results: impl Iterator<Item = Result<(), String>>) -> Result<bool, String> {
    results.collect::<Result<Vec<()>, String>>().map(|_| true)
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        unknown => panic!("the schemas use the type {unknown}, which this test doesn't know"),
    }
}

/// The three patterns that the schemas use, by what they mean.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern {
        "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$" => {
            text.parse::<uuid::Uuid>().is_ok_and(|id| id.to_string() == text)
        }
        r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$" => text.parse::<dockhost_domain::timestamp::Timestamp>().is_ok(),
        "^SHA256:" => text.starts_with("SHA256:"),
        unknown => panic!("the schemas use the pattern {unknown}, which this test doesn't know"),
    }
}

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

#[test]
fn every_message_fits_its_schema() {
    for (name, schema, message) in messages() {
        check(&schema, &message).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
    }
}

#[test]
fn what_does_not_fit_is_found() {
    for (name, schema, message) in messages() {
        let changed = |change: &dyn Fn(&mut Map<String, Value>)| {
            let mut message = message.clone();
            change(message.as_object_mut().unwrap());
            message
        };
        let extra = changed(&|message| drop(message.insert("surprise".to_owned(), json!(1))));
        assert!(check(&schema, &extra).is_err(), "{name}: a member that nobody described passes");
        for member in message.as_object().unwrap().keys().filter(|name| *name != "container" && *name != "hostKeys") {
            let wrong = changed(&|message| drop(message.insert(member.clone(), json!([-1]))));
            assert!(check(&schema, &wrong).is_err(), "{name}: {member} may be anything");
            let less = changed(&|message| drop(message.remove(member)));
            assert!(check(&schema, &less).is_err(), "{name}: {member} may be missing");
        }
    }
}
