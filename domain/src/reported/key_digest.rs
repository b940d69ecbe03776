//! The digest of an API key.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Invalid, text_type};

/// The SHA-256 digest of an API key's text, in lowercase hex.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyDigest(String);

text_type!(KeyDigest);

impl FromStr for KeyDigest {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let valid = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if valid { Ok(Self(text.to_owned())) } else { Err(Invalid("is not 64 lowercase hex digits")) }
    }
}

impl KeyDigest {
    /// The digest with these bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8; 32]) -> Self {
        use std::fmt::Write as _;
        Self(bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_digest_of_any_other_form_is_rejected() {
        let valid = KeyDigest::of_bytes(&[0xab; 32]);
        assert_eq!(valid.as_str().parse::<KeyDigest>().unwrap(), valid);
        for text in ["", &"a".repeat(63), &"a".repeat(65), &"A".repeat(64), &"g".repeat(64)] {
            assert!(text.parse::<KeyDigest>().is_err(), "{text:?} was accepted");
        }
    }
}
