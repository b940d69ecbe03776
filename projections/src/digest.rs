//! Comparing sets of documents: one digest per set, and the differences by name.
//!
//! In: documents in their JSON form, by id. Out: a SHA-256 over all of them in order of their ids, each in one
//! canonical text (members sorted, no spaces); and for two sets, what differs where. Equal digests mean equal bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// SHA-256 over a set of documents, shown as hex.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The digest of documents that are given in order of their ids.
pub fn digest<'a>(documents: impl IntoIterator<Item = &'a Value>) -> Digest {
    let mut hash = Sha256::new();
    for document in documents {
        let mut text = String::new();
        canonical(document, &mut text);
        text.push('\n');
        hash.update(text.as_bytes());
    }
    Digest(hash.finalize().into())
}

/// One text per value: members sorted by name, however the map in memory orders them.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            out.push('{');
            let sorted: BTreeMap<_, _> = members.iter().collect();
            for (index, (name, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                canonical(value, out);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// One member that differs between what is stored and what the log says.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// Where in the document: `a.b.0`; empty for the document itself.
    pub path: String,
    /// What the log says; none if it has no such member.
    pub expected: Option<Value>,
    /// What is stored; none if it isn't there.
    pub stored: Option<Value>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), Value::to_string);
        write!(f, "{}: expected {}, stored {}", self.path, shown(&self.expected), shown(&self.stored))
    }
}

/// All members that differ, in order of their paths.
#[must_use]
pub fn mismatches(expected: &Value, stored: &Value) -> Vec<Mismatch> {
    let mut found = Vec::new();
    compare("", Some(expected), Some(stored), &mut found);
    found
}

fn compare(path: &str, expected: Option<&Value>, stored: Option<&Value>, found: &mut Vec<Mismatch>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (expected, stored) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            for name in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                compare(&below(name), a.get(name), b.get(name), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for index in 0..a.len().max(b.len()) {
                compare(&below(&index.to_string()), a.get(index), b.get(index), found);
            }
        }
        (a, b) if a == b => {}
        (a, b) => found.push(Mismatch { path: path.to_owned(), expected: a.cloned(), stored: b.cloned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_digest_sees_content_and_not_the_order_of_members() {
        let a: Value = serde_json::from_str(r#"{"_id":"1","x":{"b":1,"a":[1,2]}}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{"x":{"a":[1,2],"b":1},"_id":"1"}"#).unwrap();
        assert_eq!(digest([&a]), digest([&b]));
        for other in [json!({"_id":"1","x":{"a":[2,1],"b":1}}), json!({"_id":"1","x":{"a":[1,2],"b":"1"}}), json!(null)]
        {
            assert_ne!(digest([&a]), digest([&other]), "{other}");
        }
        assert_ne!(digest([&a]), digest([&a, &b]));
        assert_eq!(digest([]).to_string().len(), 64);
    }

    #[test]
    fn differences_are_named_by_their_path() {
        let expected = json!({"_id":"1","a":{"b":[1,2]},"gone":null});
        let stored = json!({"_id":"1","a":{"b":[1,3]},"new":true});
        let named: Vec<_> = mismatches(&expected, &stored).iter().map(ToString::to_string).collect();
        assert_eq!(
            named,
            [
                "a.b.1: expected 2, stored 3",
                "gone: expected null, stored nothing",
                "new: expected nothing, stored true"
            ]
        );
        assert!(mismatches(&expected, &expected).is_empty());
    }
}
