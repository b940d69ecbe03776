//! Usernames (of users and backends), instance names, and names that people give to things of theirs. No subject contains a
//! name; claims use a keyed hash.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::InstanceId;
use crate::reported::ShortText;

/// Why a name is invalid; the text is for the user who entered it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(&'static str);

/// `[a-z][a-z0-9-]{2,31}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Username(String);

/// `[a-z][a-z0-9-]{0,62}`, but no UUID, `stop` or `resume`, which would be ambiguous in a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceName(String);

/// The name of a group of users, such as `Biology 7b`: 1 to 64 characters without control characters, line separators, marks
/// that change the direction of writing, or spaces at its ends. Not a UUID.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupName(String);

impl GroupName {
    /// Whether both are the same but for upper and lower case.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.0.to_lowercase() == other.0.to_lowercase()
    }
}

fn is_label(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl FromStr for Username {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if !(3..=32).contains(&text.len()) {
            return Err(InvalidName("must be 3 to 32 characters long"));
        }
        if !is_label(text) {
            return Err(InvalidName("must start with a letter a-z and contain only a-z, 0-9 and -"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for GroupName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if !(1..=64).contains(&text.chars().count()) {
            return Err(InvalidName("must be 1 to 64 characters long"));
        }
        if text.parse::<ShortText>().is_err() {
            return Err(InvalidName("must not contain control characters"));
        }
        if text.trim() != text {
            return Err(InvalidName("must not begin or end with a space"));
        }
        if Uuid::parse_str(text).is_ok() {
            return Err(InvalidName("must not be a UUID"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for InstanceName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if !(1..=63).contains(&text.len()) {
            return Err(InvalidName("must be 1 to 63 characters long"));
        }
        if !is_label(text) {
            return Err(InvalidName("must start with a letter a-z and contain only a-z, 0-9 and -"));
        }
        if text == "stop" || text == "resume" {
            return Err(InvalidName("`stop` and `resume` are reserved"));
        }
        if text.parse::<InstanceId>().is_ok() {
            return Err(InvalidName("must not look like an instance id"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl InstanceName {
    /// The `nth` default name, from 1: `<username>-container`, then `-2`, `-3`, …
    #[must_use]
    pub fn by_default(username: &Username, nth: u32) -> Self {
        if nth <= 1 { Self(format!("{username}-container")) } else { Self(format!("{username}-container-{nth}")) }
    }
}

/// What all names have in common; `$invalid` is why a text is none.
macro_rules! text {
    ($name:ident, $invalid:ident) => {
        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = $invalid;
            fn try_from(text: String) -> Result<Self, $invalid> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

pub(crate) use text;

text!(Username, InvalidName);
text!(InstanceName, InvalidName);
text!(GroupName, InvalidName);
text!(DisplayName, InvalidDisplayName);

/// The most characters of a [`DisplayName`].
const MAX_DISPLAY_NAME: usize = 64;

/// A person's name for something of theirs: 1 to 64 characters, no control characters, no blanks around them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DisplayName(String);

/// Why a text is no [`DisplayName`]; for the user who entered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDisplayName {
    /// Empty, or too long.
    #[error("must be 1 to 64 characters long, without blanks at its ends")]
    Length,
    /// Line ends and the like.
    #[error("must not contain control characters")]
    Control,
}

impl FromStr for DisplayName {
    type Err = InvalidDisplayName;

    fn from_str(text: &str) -> Result<Self, InvalidDisplayName> {
        if text.chars().any(char::is_control) {
            return Err(InvalidDisplayName::Control);
        }
        let is_long_enough = !text.is_empty() && text.trim() == text;
        if !is_long_enough || text.chars().count() > MAX_DISPLAY_NAME {
            return Err(InvalidDisplayName::Length);
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn name_malformed_or_reserved_is_rejected() {
        for text in [
            "",
            "ab",
            "Ada",
            "1ab",
            "-ab",
            "a.b",
            "a*b",
            "a>b",
            "a b",
            "a\nb",
            "a\u{0}b",
            "ädä",
            "$JS.API.STREAM.DELETE.EVENTS",
            "{\"$ne\":null}",
        ] {
            assert!(text.parse::<Username>().is_err(), "{text:?} was accepted");
        }
        let uuid = "0193b3a0-0000-7000-8000-000000000001";
        for text in ["", " ", "a\nb", "\u{1b}[31m", "\u{202e}b7", " Biology", "Biology\u{a0}", uuid, &"ä".repeat(65)] {
            assert!(text.parse::<GroupName>().is_err(), "{text:?} was accepted");
        }
        for text in ["7", "Biology 7b", "Überblick – „neu“", "日本語", &"ä".repeat(64)] {
            assert_eq!(text.parse::<GroupName>().unwrap().as_str(), text);
        }
        assert!("a".repeat(33).parse::<Username>().is_err());
        for text in ["stop", "resume", "0193b3a0-0000-7000-8000-000000000001", "a.b", "Web", ""] {
            assert!(text.parse::<InstanceName>().is_err(), "{text:?} was accepted");
        }
        // A UUID that starts with a letter is a valid label.
        assert!("a193b3a0-0000-7000-8000-000000000001".parse::<InstanceName>().is_err());
    }

    proptest! {
        #[test]
        fn default_name_is_a_valid_name(user in "[a-z][a-z0-9-]{2,31}", nth in 1_u32..100_000) {
            let user: Username = user.parse().unwrap();
            let name = InstanceName::by_default(&user, nth);
            prop_assert_eq!(name.as_str().parse::<InstanceName>().unwrap(), name);
        }
    }

    #[test]
    fn display_name_is_one_line_of_at_most_64_characters() {
        for name in ["x", "My laptop (new)", &"ä".repeat(64)] {
            assert_eq!(name.parse::<DisplayName>().unwrap().to_string(), name);
        }
        for name in ["", " x", "x ", "a\nb", &"ä".repeat(65)] {
            assert!(name.parse::<DisplayName>().is_err(), "{name:?}");
        }
    }
}
