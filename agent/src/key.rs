//! The `DOCKHOST_API_KEY`, a JWT that authenticates this backend to the broker.
//!
//! The agent does not verify the key. It reads only the backend's id, which is part of every subject that it uses.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dockhost_domain::ids::BackendId;
use dockhost_domain::reported::KeyDigest;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The text of a key, not parsed yet: clap prints a value that it can't parse, and a key must not be printed.
#[derive(Clone)]
pub struct UnparsedApiKey(String);

impl UnparsedApiKey {
    /// Parses the key.
    ///
    /// # Errors
    /// If the text is not an API key.
    pub fn parse(&self) -> Result<ApiKey, InvalidApiKey> {
        self.0.parse()
    }
}

impl From<&str> for UnparsedApiKey {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for UnparsedApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A key and the backend that it authenticates. `Debug` does not show the key.
#[derive(Clone)]
pub struct ApiKey {
    token: String,
    backend: BackendId,
}

/// The text is not an API key. The error does not show it, because it may be a mistyped key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid DOCKHOST_API_KEY; use the key that `backend/signup` or `backend/signin` returned")]
pub struct InvalidApiKey;

impl ApiKey {
    /// The key's text, for the broker only.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.token
    }

    /// The backend that the key authenticates.
    #[must_use]
    pub const fn backend(&self) -> BackendId {
        self.backend
    }
}

/// The digest of a key's text, which the server compares with that of the current key.
#[must_use]
pub fn key_digest(key: &str) -> KeyDigest {
    KeyDigest::of_bytes(&Sha256::digest(key).into())
}

impl FromStr for ApiKey {
    type Err = InvalidApiKey;

    fn from_str(text: &str) -> Result<Self, InvalidApiKey> {
        #[derive(Deserialize)]
        struct Claims {
            sub: BackendId,
        }
        let token = text.trim();
        let mut parts = token.split('.');
        let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(InvalidApiKey);
        };
        let json = URL_SAFE_NO_PAD.decode(claims).map_err(|_| InvalidApiKey)?;
        let claims: Claims = serde_json::from_slice(&json).map_err(|_| InvalidApiKey)?;
        Ok(Self { token: token.to_owned(), backend: claims.sub })
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}, …)", self.backend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_key_parse_reads_the_backend_and_debug_hides_the_key() {
        let id = "0193b3a0-0000-7000-8000-000000000001";
        let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"{id}","ver":1}}"#));
        let key: ApiKey = format!(" head.{claims}.secret\n").parse().unwrap();
        assert_eq!(key.backend().to_string(), id);
        assert_eq!(key.reveal(), format!("head.{claims}.secret"));
        assert!(!format!("{key:?}").contains("secret"));
        let invalid_id = URL_SAFE_NO_PAD.encode(r#"{"sub":"not-an-id"}"#);
        for text in [
            String::new(),
            "a.b".to_owned(),
            "a.!.c".to_owned(),
            format!("a.{invalid_id}.c"),
            format!("a.{claims}.c.d"),
        ] {
            assert_eq!(text.parse::<ApiKey>().unwrap_err(), InvalidApiKey, "{text:?}");
        }
    }
}
