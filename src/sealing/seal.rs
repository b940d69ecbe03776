//! Sealing of event bodies: `{"$personal": value}` becomes `{"$sealed": "<base64url of nonce, ciphertext, tag>"}`, and
//! back. Each value is bound to its owner, its event and its path in the body, so that none can be moved elsewhere.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dockhost_domain::ids::{EventId, PrincipalId};
use dockhost_domain::personal::MARKER;
use serde_json::{Map, Value};

use super::cipher::Cipher;

/// The JSON member that holds a sealed value.
const SEALED: &str = "$sealed";

/// What a sealed value is bound to, besides its path in the body.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    /// The owner of the value.
    pub principal: PrincipalId,
    /// The event that holds the value.
    pub event: EventId,
}

/// A value could not be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value at {path:?} cannot be {action}")]
pub struct SealError {
    /// JSON pointer to the value.
    pub path: String,
    /// `sealed` or `opened`.
    pub action: &'static str,
}

/// Whether the body has a plain personal value that is not erased.
#[must_use]
pub fn has_personal(body: &Value) -> bool {
    contains_member(body, MARKER)
}

/// Whether the body has a sealed value.
#[must_use]
pub fn has_sealed(body: &Value) -> bool {
    contains_member(body, SEALED)
}

/// Seals each plain personal value in place.
///
/// # Errors
/// [`SealError`] if the library's random generator fails.
pub fn seal(body: &mut Value, cipher: &Cipher, binding: Binding) -> Result<(), SealError> {
    walk(body, MARKER, &mut String::new(), &mut |path, plain| {
        let sealed = cipher.seal(&aad(binding, path), plain.to_string().into_bytes())?;
        Some((SEALED, Value::String(URL_SAFE_NO_PAD.encode(sealed))))
    })
    .map_err(|path| SealError { path, action: "sealed" })
}

/// Opens each sealed value in place.
///
/// # Errors
/// [`SealError`] with the path of the first value that was sealed by another key, moved, or damaged.
pub fn open(body: &mut Value, cipher: &Cipher, binding: Binding) -> Result<(), SealError> {
    walk(body, SEALED, &mut String::new(), &mut |path, sealed| {
        let sealed = URL_SAFE_NO_PAD.decode(sealed.as_str()?).ok()?;
        let plain = cipher.open(&aad(binding, path), &sealed)?;
        Some((MARKER, serde_json::from_slice(&plain).ok()?))
    })
    .map_err(|path| SealError { path, action: "opened" })
}

/// Replaces each sealed value by the marker of an erased one. Only for owners whose erasure the log confirms: a missing
/// key alone is no proof.
pub fn erase(body: &mut Value) {
    // The replacement below never fails, so neither does the walk.
    let _ = walk(body, SEALED, &mut String::new(), &mut |_, _| Some((MARKER, Value::Null)));
}

fn aad(binding: Binding, path: &str) -> Vec<u8> {
    format!("dockhost.seal.v1\0{}\0{}\0{path}", binding.principal, binding.event).into_bytes()
}

/// The value of an object whose only member is `member`, unless it is null (erased, so there is nothing to seal).
fn sole_member<'a>(object: &'a Map<String, Value>, member: &str) -> Option<&'a Value> {
    object.get(member).filter(|value| object.len() == 1 && !value.is_null())
}

fn contains_member(value: &Value, member: &str) -> bool {
    match value {
        Value::Object(object) => {
            sole_member(object, member).is_some() || object.values().any(|v| contains_member(v, member))
        }
        Value::Array(items) => items.iter().any(|item| contains_member(item, member)),
        _ => false,
    }
}

/// Replaces the member of each object `{member: value}` by the result of `replace(path, value)`. The error is the path
/// at which `replace` returned `None`.
fn walk(
    value: &mut Value,
    member: &str,
    path: &mut String,
    replace: &mut impl FnMut(&str, &Value) -> Option<(&'static str, Value)>,
) -> Result<(), String> {
    match value {
        Value::Object(object) => {
            if let Some(inner) = sole_member(object, member) {
                let (name, new) = replace(path, inner).ok_or_else(|| path.clone())?;
                object.clear();
                object.insert(name.to_owned(), new);
                return Ok(());
            }
            for (key, child) in object.iter_mut() {
                descend(child, &key.replace('~', "~0").replace('/', "~1"), member, path, replace)?;
            }
            Ok(())
        }
        Value::Array(items) => items
            .iter_mut()
            .enumerate()
            .try_for_each(|(i, child)| descend(child, &i.to_string(), member, path, replace)),
        _ => Ok(()),
    }
}

fn descend(
    child: &mut Value,
    segment: &str,
    member: &str,
    path: &mut String,
    replace: &mut impl FnMut(&str, &Value) -> Option<(&'static str, Value)>,
) -> Result<(), String> {
    let parent = path.len();
    path.push('/');
    path.push_str(segment);
    walk(child, member, path, replace)?;
    path.truncate(parent);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn cipher() -> Cipher {
        Cipher::new(&[3; 32]).unwrap()
    }

    fn binding(principal: u128, event: u128) -> Binding {
        Binding {
            principal: PrincipalId::from_uuid(Uuid::from_u128(principal)),
            event: EventId::from_uuid(Uuid::from_u128(event)),
        }
    }

    fn bodies() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            ".{1,12}".prop_map(|text| json!({ MARKER: text })),
        ];
        leaf.prop_recursive(3, 24, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map("[a-z~/]{1,4}", inner.clone(), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
                inner.prop_filter("null means erased", |v| !v.is_null()).prop_map(|value| json!({ MARKER: value })),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn seal_hides_personal_values_and_open_restores_them(body in bodies()) {
            let mut sealed = body.clone();
            seal(&mut sealed, &cipher(), binding(1, 2)).unwrap();
            prop_assert!(!has_personal(&sealed));
            prop_assert_eq!(has_sealed(&sealed), has_personal(&body));
            let mut opened = sealed;
            open(&mut opened, &cipher(), binding(1, 2)).unwrap();
            prop_assert_eq!(opened, body);
        }
    }

    #[test]
    fn open_refuses_values_of_another_key_event_owner_or_path() {
        let body = json!({ "a": { MARKER: "x" }, "b": { MARKER: "x" }, "c": [{ "d": { MARKER: { "e": 1 } } }] });
        let mut sealed = body;
        seal(&mut sealed, &cipher(), binding(1, 2)).unwrap();
        assert_ne!(sealed["a"], sealed["b"], "equal values have equal ciphertexts");
        for other in [binding(1, 3), binding(3, 2)] {
            assert_eq!(open(&mut sealed.clone(), &cipher(), other).unwrap_err().path, "/a");
        }
        assert!(open(&mut sealed.clone(), &Cipher::new(&[4; 32]).unwrap(), binding(1, 2)).is_err());
        let mut moved = sealed.clone();
        moved["b"] = sealed["a"].clone();
        assert_eq!(open(&mut moved, &cipher(), binding(1, 2)).unwrap_err().path, "/b");
        let mut cut = sealed;
        cut["c"][0]["d"][SEALED] = json!("AAAA");
        assert_eq!(open(&mut cut, &cipher(), binding(1, 2)).unwrap_err().path, "/c/0/d");
    }

    #[test]
    fn seal_and_erase_keep_erased_values() {
        let mut body = json!({ "a": { MARKER: null }, "b": { MARKER: "x" } });
        seal(&mut body, &cipher(), binding(1, 2)).unwrap();
        assert_eq!(body["a"], json!({ MARKER: null }));
        erase(&mut body);
        assert_eq!(body, json!({ "a": { MARKER: null }, "b": { MARKER: null } }));
    }
}
