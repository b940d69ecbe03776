//! A value that a person typed, or that points at one.
//!
//! In: a plain value from a command, or what the sealing adapter could open. Out: on the way to the log the adapter
//! finds each one by the marker `{"$personal": …}` in the JSON and seals it under the principal's key; on the way
//! back it puts the plain value there again, or `null` once the key was destroyed. So the rules see a plain or an
//! absent value and know nothing of keys.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The JSON member that marks a personal value; the sealing adapter searches for it.
pub const MARKER: &str = "$personal";

/// A personal value: plain, or erased together with its key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Personal<T> {
    /// The value is known.
    Plain(T),
    /// The person was erased: the sealed bytes stay in the log, nobody can open them.
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

/// Never prints the value: states and events end up in logs and panic messages.
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
    fn json_carries_the_marker_and_debug_carries_nothing() {
        let name = Personal::from("ada".to_owned());
        let json = serde_json::to_string(&name).unwrap();
        assert_eq!(json, format!("{{\"{MARKER}\":\"ada\"}}"));
        assert_eq!(serde_json::from_str::<Personal<String>>(&json).unwrap(), name);
        assert_eq!(serde_json::from_str::<Personal<String>>(r#"{"$personal":null}"#).unwrap(), Personal::Erased);
        assert!(serde_json::from_str::<Personal<String>>(r#""ada""#).is_err());
        assert!(!format!("{name:?}").contains("ada"));
    }
}
