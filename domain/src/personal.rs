//! Personal values: text that a person entered, or that identifies one.
//!
//! Each is written as `{"$personal": …}`. Before an append, the sealing adapter encrypts the marked values under the
//! principal's key. When it reads them, it restores the plain value, or `null` if the key was destroyed. So the rules
//! handle plain or erased values, and no keys.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The JSON member that marks a personal value for the sealing adapter.
pub const MARKER: &str = "$personal";

/// A personal value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Personal<T> {
    /// The value.
    Plain(T),
    /// The key was destroyed: the sealed bytes in the log cannot be decrypted.
    Erased,
}

impl<T> Personal<T> {
    /// The value, if it is not erased.
    pub const fn plain(&self) -> Option<&T> {
        match self {
            Self::Plain(value) => Some(value),
            Self::Erased => None,
        }
    }
}

impl<T> From<T> for Personal<T> {
    fn from(value: T) -> Self {
        Self::Plain(value)
    }
}

/// Does not print the value, because states and events appear in logs and panic messages.
impl<T> std::fmt::Debug for Personal<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "[PERSONAL]",
            Self::Erased => "[ERASED]",
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marked<T> {
    #[serde(rename = "$personal")]
    value: T,
}

impl<T: Serialize> Serialize for Personal<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Marked { value: self.plain() }.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Personal<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let marked = Marked::<Option<T>>::deserialize(deserializer)?;
        Ok(marked.value.map_or(Self::Erased, Self::Plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn personal_value_has_a_marker_in_json_and_is_hidden_in_debug() {
        let name = Personal::from("ada".to_owned());
        let json = serde_json::to_string(&name).unwrap();
        assert_eq!(json, format!("{{\"{MARKER}\":\"ada\"}}"));
        assert_eq!(serde_json::from_str::<Personal<String>>(&json).unwrap(), name);
        assert_eq!(serde_json::from_str::<Personal<String>>(r#"{"$personal":null}"#).unwrap(), Personal::Erased);
        assert!(serde_json::from_str::<Personal<String>>(r#""ada""#).is_err());
        assert!(!format!("{name:?}").contains("ada"));
    }
}
