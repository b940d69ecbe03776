//! The master key (`DOCKHOST_MASTER_KEY`), which wraps all stored keys. Each wrapped key is bound to its name, so that
//! one principal's key does not open under another's name.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::cipher::{Cipher, KEY_BYTES};

/// Wraps and unwraps stored keys.
#[derive(Debug)]
pub struct MasterKey(Cipher);

/// The text is not a master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("DOCKHOST_MASTER_KEY must be 32 random bytes in base64 (`openssl rand -base64 32` makes one)")]
pub struct InvalidMasterKey;

impl FromStr for MasterKey {
    type Err = InvalidMasterKey;

    fn from_str(text: &str) -> Result<Self, InvalidMasterKey> {
        let text = text.trim();
        [STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD]
            .iter()
            .find_map(|engine| engine.decode(text).ok())
            .and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok())
            .and_then(|bytes| Cipher::new(&bytes))
            .map(Self)
            .ok_or(InvalidMasterKey)
    }
}

impl MasterKey {
    /// Wraps a key for storage under `name`; `None` if the random generator fails.
    #[must_use]
    pub fn wrap(&self, name: &str, key: &[u8]) -> Option<Vec<u8>> {
        self.0.seal(&binding(name), key.to_vec())
    }

    /// Unwraps the key stored under `name`; `None` if it was wrapped by another master key or for another name.
    #[must_use]
    pub fn unwrap_key(&self, name: &str, wrapped: &[u8]) -> Option<Vec<u8>> {
        self.0.open(&binding(name), wrapped)
    }
}

fn binding(name: &str) -> Vec<u8> {
    format!("dockhost.key.v1\0{name}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn master_key_from_str_accepts_32_bytes_of_base64_only() {
        assert!(STANDARD.encode([7; 32]).parse::<MasterKey>().is_ok());
        assert!(URL_SAFE_NO_PAD.encode([255; 32]).parse::<MasterKey>().is_ok());
        for text in ["", "secret", &STANDARD.encode([7; 31]), &STANDARD.encode([7; 33])] {
            assert_eq!(text.parse::<MasterKey>().unwrap_err(), InvalidMasterKey, "{text}");
        }
    }

    #[test]
    fn unwrap_key_needs_the_name_and_master_key_of_the_wrap() {
        let master: MasterKey = STANDARD.encode([7; 32]).parse().unwrap();
        let other: MasterKey = STANDARD.encode([8; 32]).parse().unwrap();
        let wrapped = master.wrap("a", b"key").unwrap();
        assert_eq!(master.unwrap_key("a", &wrapped).unwrap(), b"key");
        assert!(master.unwrap_key("b", &wrapped).is_none());
        assert!(other.unwrap_key("a", &wrapped).is_none());
        assert!(master.unwrap_key("a", &wrapped[..10]).is_none());
    }
}
