//! The `DOCKHOST_API_KEY`: what proves to the broker who this backend is.
//!
//! In: the key's text. Out: the key, and the backend's id read from it. The agent can't verify the key, which is
//! the server's matter; it only reads for whom it was made, because every subject it may use contains that id.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dockhost_domain::ids::BackendId;
use serde::Deserialize;

/// The text of a key as it was given: not parsed yet, because a parser of arguments shows what it can't parse.
#[derive(Clone)]
pub struct UnparsedApiKey(String);

impl UnparsedApiKey {
    /// The key in it.
    ///
    /// # Errors
    /// When it is none.
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

/// A key, with the backend that it speaks for. Its `Debug` doesn't show the key.
#[derive(Clone)]
pub struct ApiKey {
    token: String,
    backend: BackendId,
}

/// The text is no API key; it isn't shown, for it may be a mistyped one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a DOCKHOST_API_KEY as `backend/signup` or `backend/signin` gave it")]
pub struct InvalidApiKey;

impl ApiKey {
    /// The key itself, for the broker only.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.token
    }

    /// The backend that it speaks for.
    #[must_use]
    pub const fn backend(&self) -> BackendId {
        self.backend
    }
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
    fn the_backend_is_read_from_the_key_and_the_key_is_not_shown() {
        let id = "0193b3a0-0000-7000-8000-000000000001";
        let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"{id}","ver":1}}"#));
        let key: ApiKey = format!(" head.{claims}.secret\n").parse().unwrap();
        assert_eq!(key.backend().to_string(), id);
        assert_eq!(key.reveal(), format!("head.{claims}.secret"));
        assert!(!format!("{key:?}").contains("secret"));
        let nobody = URL_SAFE_NO_PAD.encode(r#"{"sub":"somebody"}"#);
        for text in
            [String::new(), "a.b".to_owned(), "a.!.c".to_owned(), format!("a.{nobody}.c"), format!("a.{claims}.c.d")]
        {
            assert_eq!(text.parse::<ApiKey>().unwrap_err(), InvalidApiKey, "{text:?}");
        }
    }
}
