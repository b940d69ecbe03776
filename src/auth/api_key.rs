//! The `DOCKHOST_API_KEY` of a backend: derived, not stored.
//!
//! The same backend, version and time of enrolment give the same key, so a repeated sign-in returns the current one and
//! the running agent stays connected. Whether a key's version is the current one is in the log.

use dockhost_domain::ids::BackendId;
use dockhost_domain::timestamp::Timestamp;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};

use super::token::{Audience, InvalidToken, SecretKeys, TokenSecret, issuer, validation};

#[derive(Serialize, Deserialize)]
struct ApiKeyClaims {
    iss: String,
    aud: String,
    sub: String,
    ver: u32,
    iat: i64,
    /// Issued keys have no expiry, but one that is present is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
}

/// The backend and version that a key identifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiKeyId {
    /// The backend.
    pub backend_id: BackendId,
    /// The version of its key.
    pub version: u32,
}

/// Derives and verifies API keys.
pub struct ApiKeys {
    keys: SecretKeys,
    validation: Validation,
}

impl ApiKeys {
    /// Uses the backends' secret.
    pub fn new(secret: &TokenSecret) -> Self {
        Self { keys: SecretKeys::new(secret), validation: validation(Audience::Agent, &["iss", "aud", "sub"]) }
    }

    /// The key with this id, of the current secret.
    ///
    /// # Errors
    /// If signing fails, which it does not with a symmetric key.
    pub fn derive(&self, id: ApiKeyId, enrolled_at: Timestamp) -> Result<String, InvalidToken> {
        let claims = ApiKeyClaims {
            iss: issuer().to_owned(),
            aud: Audience::Agent.as_str().to_owned(),
            sub: id.backend_id.to_string(),
            ver: id.version,
            iat: enrolled_at.seconds(),
            exp: None,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.keys.encoding)
            .map_err(|e| InvalidToken(Some(e)))
    }

    /// The backend and version that a key identifies.
    ///
    /// # Errors
    /// [`InvalidToken`] for anything but a key of ours.
    pub fn read(&self, key: &str) -> Result<ApiKeyId, InvalidToken> {
        let claims: ApiKeyClaims = self.keys.decode(key, &self.validation)?;
        let backend_id = claims.sub.parse().map_err(|_| InvalidToken(None))?;
        Ok(ApiKeyId { backend_id, version: claims.ver })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::clock;

    #[test]
    fn api_key_derivation_is_repeatable_and_readable() {
        crate::common::install_crypto();
        let keys = ApiKeys::new(&"0123456789abcdef0123456789abcdef".to_owned().into());
        let id = ApiKeyId { backend_id: BackendId::from_uuid(clock::fresh_uuid()), version: 1 };
        let at = Timestamp::from_millis(1_764_000_000_000);
        let key = keys.derive(id, at).unwrap();
        assert_eq!(keys.derive(id, at).unwrap(), key);
        assert_eq!(keys.read(&key).unwrap(), id);
        let next = keys.derive(ApiKeyId { version: 2, ..id }, at).unwrap();
        assert_ne!(next, key);
        let other = ApiKeys::new(&"another secret of enough length!".to_owned().into());
        assert!(other.read(&key).is_err());
    }

    #[test]
    fn api_key_of_the_previous_secret_is_valid_and_a_derived_one_has_the_current_secret() {
        crate::common::install_crypto();
        let (old, new) = ("0123456789abcdef0123456789abcdef", "another secret of enough length!");
        let only = |secret: &str| ApiKeys::new(&secret.to_owned().into());
        let id = ApiKeyId { backend_id: BackendId::from_uuid(clock::fresh_uuid()), version: 1 };
        let at = Timestamp::from_millis(1_764_000_000_000);
        let old_key = only(old).derive(id, at).unwrap();
        let during = ApiKeys::new(&TokenSecret { current: new.into(), previous: Some(old.into()) });
        assert_eq!(during.read(&old_key).unwrap(), id);
        let after = only(new);
        assert_eq!(during.derive(id, at).unwrap(), after.derive(id, at).unwrap());
        assert!(after.read(&old_key).is_err());
    }

    #[test]
    fn api_key_expired_is_invalid() {
        crate::common::install_crypto();
        let keys = ApiKeys::new(&"0123456789abcdef0123456789abcdef".to_owned().into());
        let claims = ApiKeyClaims {
            iss: issuer().to_owned(),
            aud: Audience::Agent.as_str().to_owned(),
            sub: clock::fresh_uuid().to_string(),
            ver: 1,
            iat: 1,
            exp: Some(2),
        };
        let expired = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &keys.keys.encoding).unwrap();
        assert!(keys.read(&expired).is_err());
    }
}
