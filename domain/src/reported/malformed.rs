//! Parses a message of an agent, without an error that repeats its text.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// Why a message could not be read. It contains nothing of the message, because it goes to the server's log; the
/// JSON parser's own messages quote the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{length} bytes: {kind}")]
pub struct Malformed {
    /// What is wrong.
    pub kind: MalformedKind,
    /// The length of the message, in bytes.
    pub length: usize,
}

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MalformedKind {
    /// It is not JSON.
    Syntax,
    /// It is the beginning of a JSON text.
    Incomplete,
    /// It is JSON with a missing member or an invalid value.
    Value,
}

impl fmt::Display for MalformedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "not JSON",
            Self::Incomplete => "incomplete JSON",
            Self::Value => "a member is missing or has an invalid value",
        })
    }
}

/// Parses the body of a message.
///
/// # Errors
/// [`Malformed`].
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Malformed> {
    serde_json::from_slice(body).map_err(|error| {
        let kind = match error.classify() {
            Category::Syntax => MalformedKind::Syntax,
            Category::Eof => MalformedKind::Incomplete,
            Category::Data | Category::Io => MalformedKind::Value,
        };
        Malformed { kind, length: body.len() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reported::ContainerId;

    #[test]
    fn parse_error_says_what_is_wrong_and_quotes_nothing() {
        for (body, kind) in [
            ("FORGED", MalformedKind::Syntax),
            ("\"FORGED", MalformedKind::Incomplete),
            ("\"FORGED \\n line\"", MalformedKind::Value),
            ("[\"FORGED\"]", MalformedKind::Value),
        ] {
            let error = parse::<ContainerId>(body.as_bytes()).unwrap_err();
            assert_eq!(error, Malformed { kind, length: body.len() });
            assert!(!format!("{error} {error:?}").contains("FORGED"), "{error:?}");
        }
        assert!(parse::<ContainerId>(b"\"c1\"").is_ok());
    }
}
