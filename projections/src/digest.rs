//! Comparing sets of documents: one digest per set, and the differences by name.
//!
//! In: documents in their JSON form, by id. Out: a SHA-256 over all of them in order of their ids, each in one
//! canonical text (members sorted, no spaces); and for two sets, what differs where. Equal digests mean equal bytes.

use std::collections::BTreeSet;
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

/// The digest of documents that are given, as their canonical texts, in order of their ids.
#[derive(Clone, Default)]
pub(crate) struct DigestBuilder(Sha256);

impl DigestBuilder {
    /// The next document.
    pub(crate) fn add(&mut self, canonical: &str) {
        self.0.update(canonical.as_bytes());
        self.0.update(b"\n");
    }

    /// Of all that were added.
    pub(crate) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// One text per value: members sorted by name, however the map in memory orders them; no spaces.
pub(crate) fn canonical(value: &Value) -> String {
    let mut text = String::with_capacity(1024);
    write(value, &mut text);
    text
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            out.push('{');
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| *name);
            for (index, (name, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_text(name, out);
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
        Value::Array(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(value, out);
            }
            out.push(']');
        }
        Value::String(text) => write_text(text, out),
        other => out.push_str(&other.to_string()),
    }
}

fn write_text(text: &str, out: &mut String) {
    // What needs no escape, which is nearly everything, is written as it stands.
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&Value::from(text).to_string());
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

    fn digest<'a>(documents: impl IntoIterator<Item = &'a Value>) -> Digest {
        let mut digest = DigestBuilder::default();
        documents.into_iter().for_each(|document| digest.add(&canonical(document)));
        digest.finish()
    }

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
    fn the_canonical_text_is_json() {
        let value = json!({"b": ["\u{1f}", "quo\"te", "back\\slash", "\u{7f}ä", ""], "a\n": {"z": -1, "y": 1.5}, "c": [true, null]});
        let text = canonical(&value);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert!(text.starts_with(r#"{"a\n":{"y":1.5,"z":-1},"b":["#), "{text}");
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
