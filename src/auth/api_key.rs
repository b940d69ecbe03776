//! The `DOCKHOST_API_KEY` of a backend: derived, not stored.
//!
//! In: a backend, the version of its key that the log holds, and when it was enrolled. Out: always the same key for
//! these, so that signing in again gives the current one without disturbing the running agent; and back, which backend
//! and version a key names. Whether that version is the good one is asked of the log.

use dockhost_domain::ids::BackendId;
use dockhost_domain::timestamp::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::token::{Audience, InvalidToken, issuer, validation};

#[derive(Serialize, Deserialize)]
struct ApiKeyClaims {
    iss: String,
    aud: String,
    sub: String,
    ver: u32,
    iat: i64,
    /// Ours have none; one that is given counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
}

/// What a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiKeyId {
    /// The backend.
    pub backend_id: BackendId,
    /// The version of its key.
    pub version: u32,
}

/// Derives and reads API keys.
pub struct ApiKeys {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl ApiKeys {
    /// Keys under the backends' secret.
    pub fn new(secret: &SecretString) -> Self {
        let secret = secret.expose_secret().as_bytes();
        Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            validation: validation(Audience::Agent, &["iss", "aud", "sub"]),
        }
    }

    /// The key of a backend.
    ///
    /// # Errors
    /// If signing fails, which a symmetric key does not.
    pub fn derive(&self, key: ApiKeyId, enrolled_at: Timestamp) -> Result<String, InvalidToken> {
        let claims = ApiKeyClaims {
            iss: issuer().to_owned(),
            aud: Audience::Agent.as_str().to_owned(),
            sub: key.backend_id.to_string(),
            ver: key.version,
            iat: enrolled_at.seconds(),
            exp: None,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).map_err(|e| InvalidToken(Some(e)))
    }

    /// What a key names.
    ///
    /// # Errors
    /// [`InvalidToken`] for anything but a key of ours.
    pub fn read(&self, key: &str) -> Result<ApiKeyId, InvalidToken> {
        let claims = jsonwebtoken::decode::<ApiKeyClaims>(key, &self.decoding, &self.validation)
            .map_err(|error| InvalidToken(Some(error)))?
            .claims;
        let backend_id = claims.sub.parse().map_err(|_| InvalidToken(None))?;
        Ok(ApiKeyId { backend_id, version: claims.ver })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::clock;

    #[test]
    fn a_key_is_the_same_each_time_and_names_its_backend() {
        crate::common::install_crypto();
        let keys = ApiKeys::new(&"0123456789abcdef0123456789abcdef".to_owned().into());
        let of = ApiKeyId { backend_id: BackendId::from_uuid(clock::fresh_uuid()), version: 1 };
        let at = Timestamp::from_millis(1_764_000_000_000);
        let key = keys.derive(of, at).unwrap();
        assert_eq!(keys.derive(of, at).unwrap(), key);
        assert_eq!(keys.read(&key).unwrap(), of);
        let next = keys.derive(ApiKeyId { version: 2, ..of }, at).unwrap();
        assert_ne!(next, key);
        let other = ApiKeys::new(&"another secret of enough length!".to_owned().into());
        assert!(other.read(&key).is_err());
    }

    #[test]
    fn a_key_with_an_end_ends() {
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
        let expired = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &keys.encoding).unwrap();
        assert!(keys.read(&expired).is_err());
    }
}
