//! The master key (`DOCKHOST_MASTER_KEY`), which wraps all stored keys. Each wrapped key is bound to its name, so that
//! one principal's key does not open under another's name.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::cipher::{Cipher, KEY_BYTES};

/// Wraps and unwraps stored keys. While it is changed, it also unwraps what another one wrapped.
#[derive(Debug)]
pub struct MasterKey {
    current: Cipher,
    other: Option<Cipher>,
}

/// What [`MasterKey::rewrap`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Rewrap {
    /// This master key wraps it.
    Unchanged,
    /// The other one wrapped it; now this one does.
    Rewrapped(Vec<u8>),
    /// Neither unwraps it.
    Unreadable,
}

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
            .map(|current| Self { current, other: None })
            .ok_or(InvalidMasterKey)
    }
}

impl MasterKey {
    /// Also unwraps what `other` wrapped.
    #[must_use]
    pub fn beside(self, other: Option<Self>) -> Self {
        Self { other: other.map(|other| other.current), ..self }
    }

    /// Whether it unwraps what another one wrapped.
    #[must_use]
    pub const fn has_other(&self) -> bool {
        self.other.is_some()
    }

    /// Wraps a key for storage under `name`; `None` if the random generator fails.
    #[must_use]
    pub fn wrap(&self, name: &str, key: &[u8]) -> Option<Vec<u8>> {
        self.current.seal(&binding(name), key.to_vec())
    }

    /// Unwraps the key stored under `name`; `None` if it was wrapped by none of the master keys or for another name.
    #[must_use]
    pub fn unwrap_key(&self, name: &str, wrapped: &[u8]) -> Option<Vec<u8>> {
        let binding = binding(name);
        self.current.open(&binding, wrapped).or_else(|| self.other.as_ref()?.open(&binding, wrapped))
    }

    /// Wraps the key stored under `name` anew, if the other master key wrapped it; `None` if the random generator fails.
    #[must_use]
    pub fn rewrap(&self, name: &str, wrapped: &[u8]) -> Option<Rewrap> {
        let binding = binding(name);
        if self.current.open(&binding, wrapped).is_some() {
            return Some(Rewrap::Unchanged);
        }
        match self.other.as_ref().and_then(|other| other.open(&binding, wrapped)) {
            Some(key) => Some(Rewrap::Rewrapped(self.wrap(name, &key)?)),
            None => Some(Rewrap::Unreadable),
        }
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

    #[test]
    fn master_key_beside_another_unwraps_both_and_wraps_by_itself() {
        let master = |byte: u8| STANDARD.encode([byte; 32]).parse::<MasterKey>().unwrap();
        let old = master(7).wrap("a", b"key").unwrap();
        let both = master(8).beside(Some(master(7)));
        assert_eq!(both.unwrap_key("a", &old).unwrap(), b"key");
        let new = both.wrap("a", b"key").unwrap();
        assert!(master(7).unwrap_key("a", &new).is_none());
        assert_eq!(both.rewrap("a", &new), Some(Rewrap::Unchanged));
        let Some(Rewrap::Rewrapped(rewrapped)) = both.rewrap("a", &old) else { panic!("not wrapped anew") };
        assert_eq!(master(8).unwrap_key("a", &rewrapped).unwrap(), b"key");
        assert_eq!(both.rewrap("b", &old), Some(Rewrap::Unreadable));
    }
}
