//! A type of events, or what types begin with, such as `instance.failed`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The text is no type of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be at most 64 characters a-z, 0-9, . and -, and begin with a letter")]
pub struct InvalidEventType;

/// `[a-z][a-z0-9.-]*`, at most 64 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventType(String);

impl FromStr for EventType {
    type Err = InvalidEventType;

    fn from_str(text: &str) -> Result<Self, InvalidEventType> {
        let is_valid = text.len() <= 64
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
        if is_valid { Ok(Self(text.to_owned())) } else { Err(InvalidEventType) }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for EventType {
    type Error = InvalidEventType;

    fn try_from(text: String) -> Result<Self, InvalidEventType> {
        text.parse()
    }
}

impl From<EventType> for String {
    fn from(kind: EventType) -> Self {
        kind.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_type_is_of_lower_case_letters_digits_dots_and_dashes() {
        for (text, is_valid) in [
            ("instance", true),
            ("dockhost.instance.failed.v2", true),
            (&"a".repeat(64), true),
            (&"a".repeat(65), false),
            ("", false),
            (".instance", false),
            ("Instance", false),
            ("instance\n", false),
        ] {
            assert_eq!(text.parse::<EventType>().is_ok(), is_valid, "{text:?}");
        }
    }
}
