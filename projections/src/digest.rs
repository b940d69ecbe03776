//! Digests of sets of documents, and the members in which two documents differ.
//!
//! A digest is a SHA-256 over the canonical texts of all documents in the order of their ids, so equal digests mean equal
//! documents.

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

/// Computes the digest of documents that are added in the order of their ids.
#[derive(Clone, Default)]
pub(crate) struct DigestBuilder(Sha256);

impl DigestBuilder {
    /// Adds a document by its canonical text.
    pub(crate) fn add(&mut self, canonical: &str) {
        self.0.update(canonical.as_bytes());
        self.0.update(b"\n");
    }

    /// The digest of all documents that were added.
    pub(crate) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// The canonical text of a document: members sorted by name, no spaces.
pub(crate) fn canonical(mut value: Value) -> String {
    value.sort_all_objects();
    value.to_string()
}

/// A member that differs between the stored document and the one that the log yields.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// The path of the member, e.g. `a.b.0`; empty for the document itself.
    pub path: String,
    /// The value that the log yields; `None` if it yields no such member.
    pub expected: Option<Value>,
    /// The stored value; `None` if there is no such member.
    pub stored: Option<Value>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), Value::to_string);
        write!(f, "{}: expected {}, stored {}", self.path, shown(&self.expected), shown(&self.stored))
    }
}

/// All members that differ, in the order of their paths.
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
        documents.into_iter().for_each(|document| digest.add(&canonical(document.clone())));
        digest.finish()
    }

    #[test]
    fn digest_depends_on_content_and_not_on_member_order() {
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
    fn canonical_text_is_json_with_sorted_members() {
        let value = json!({"b": ["\u{1f}", "quo\"te", "back\\slash", "\u{7f}ä", ""], "a\n": {"z": -1, "y": 1.5}, "c": [true, null]});
        let text = canonical(value.clone());
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert!(text.starts_with(r#"{"a\n":{"y":1.5,"z":-1},"b":["#), "{text}");
    }

    #[test]
    fn mismatches_names_each_difference_by_its_path() {
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
