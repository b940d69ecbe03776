//! Signed authorization responses: a user JWT that confines the connection to one backend, or a refusal.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dockhost_domain::ids::BackendId;
use dockhost_domain::timestamp::Timestamp;
use nkeys::{KeyPair, KeyPairType};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::{AuthRequest, HEADER, Permissions};
use crate::common::clock;

/// The account of `nats.conf` in which backends are.
const AGENTS_ACCOUNT: &str = "AGENTS";
/// The longest lifetime of a connection; then the client has to authenticate again.
pub const MAX_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// What a token of [`Signer::check_token`] begins with, and for how long it and its connection are valid.
const CHECK_PREFIX: &str = "dockhost-check.";
const CHECK_LIFETIME: Duration = Duration::from_secs(30);
/// The broker ignores the limits of a user from the callout; those of the account apply to each connection.
const NO_USER_LIMIT: i64 = -1;

/// A seed or a signature was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The seed is malformed.
    #[error("DOCKHOST_CALLOUT_SEED is not an nkey seed")]
    Seed(#[source] nkeys::error::Error),
    /// The seed is that of a user or a server.
    #[error("DOCKHOST_CALLOUT_SEED is not the seed of an account")]
    NotAnAccount,
    /// The claims could not be signed.
    #[error("the authorization response could not be signed")]
    Sign(#[source] nkeys::error::Error),
    /// The claims could not be serialised.
    #[error("the authorization response could not be serialised")]
    Serialise(#[from] serde_json::Error),
}

/// Signs authorization responses. `Debug` shows the public key only.
pub struct Signer {
    key: KeyPair,
    issuer: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct NatsClaims<'a, T> {
    jti: String,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    nats: T,
}

#[derive(Serialize)]
struct UserClaims {
    #[serde(flatten)]
    permissions: Permissions,
    subs: i64,
    data: i64,
    payload: i64,
    r#type: &'static str,
    version: u8,
}

#[derive(Serialize)]
struct ResponseClaims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    r#type: &'static str,
    version: u8,
}

impl Signer {
    /// Takes the seed of an account key (`SA…`), whose public key `nats.conf` names as the issuer.
    ///
    /// # Errors
    /// [`SignError::Seed`], [`SignError::NotAnAccount`].
    pub fn from_seed(seed: &SecretString) -> Result<Self, SignError> {
        let key = KeyPair::from_seed(seed.expose_secret()).map_err(SignError::Seed)?;
        if key.key_pair_type() != KeyPairType::Account {
            return Err(SignError::NotAnAccount);
        }
        let issuer = key.public_key();
        Ok(Self { key, issuer })
    }

    /// The response that accepts a backend until `now + lifetime` (at most [`MAX_LIFETIME`]).
    ///
    /// # Errors
    /// [`SignError::Sign`], [`SignError::Serialise`].
    pub fn allow(
        &self,
        request: &AuthRequest,
        backend: BackendId,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<String, SignError> {
        self.accept(request, (backend.to_string(), Permissions::of(backend)), now, lifetime)
    }

    fn accept(
        &self,
        request: &AuthRequest,
        (name, permissions): (String, Permissions),
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<String, SignError> {
        let user = self.sign(&NatsClaims {
            jti: clock::fresh_uuid().to_string(),
            iat: now.seconds(),
            exp: Some(now.after(lifetime.min(MAX_LIFETIME)).seconds()),
            iss: &self.issuer,
            sub: &request.user,
            aud: AGENTS_ACCOUNT,
            name: Some(name),
            nats: UserClaims {
                permissions,
                subs: NO_USER_LIMIT,
                data: NO_USER_LIMIT,
                payload: NO_USER_LIMIT,
                r#type: "user",
                version: 2,
            },
        })?;
        self.respond(request, now, Some(&user), None)
    }

    /// A token for a connection that can do nothing. Only the holder of this seed can make it, and every replica with the
    /// seed accepts it for [`CHECK_LIFETIME`].
    ///
    /// # Errors
    /// [`SignError::Sign`].
    pub fn check_token(&self, now: Timestamp) -> Result<String, SignError> {
        let signed = format!("{CHECK_PREFIX}{}", now.millis());
        let signature = self.key.sign(signed.as_bytes()).map_err(SignError::Sign)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Whether [`Signer::check_token`] made the token a moment ago.
    #[must_use]
    pub fn made_check_token(&self, token: &str, now: Timestamp) -> bool {
        let Some((signed, signature)) = token.rsplit_once('.') else { return false };
        let Some(millis) = signed.strip_prefix(CHECK_PREFIX).and_then(|millis| millis.parse().ok()) else {
            return false;
        };
        let made = Timestamp::from_millis(millis);
        now.millis().abs_diff(made.millis()) <= CHECK_LIFETIME.as_millis().try_into().unwrap_or(u64::MAX)
            && URL_SAFE_NO_PAD.decode(signature).is_ok_and(|it| self.key.verify(signed.as_bytes(), &it).is_ok())
    }

    /// The response that accepts a connection that can do nothing.
    ///
    /// # Errors
    /// [`SignError::Sign`], [`SignError::Serialise`].
    pub fn allow_check(&self, request: &AuthRequest, now: Timestamp) -> Result<String, SignError> {
        self.accept(request, ("check".to_owned(), Permissions::of_check()), now, CHECK_LIFETIME)
    }

    /// The public half of the key, which `nats.conf` names as the issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The response that refuses a connection. The broker logs the reason; the client does not get it.
    ///
    /// # Errors
    /// [`SignError::Sign`], [`SignError::Serialise`].
    pub fn deny(&self, request: &AuthRequest, reason: &str, now: Timestamp) -> Result<String, SignError> {
        self.respond(request, now, None, Some(reason))
    }

    fn respond(
        &self,
        request: &AuthRequest,
        now: Timestamp,
        jwt: Option<&str>,
        error: Option<&str>,
    ) -> Result<String, SignError> {
        self.sign(&NatsClaims {
            jti: clock::fresh_uuid().to_string(),
            iat: now.seconds(),
            exp: None,
            iss: &self.issuer,
            sub: &request.user,
            aud: &request.server,
            name: None,
            nats: ResponseClaims { jwt, error, r#type: "authorization_response", version: 2 },
        })
    }

    fn sign<T: Serialize>(&self, claims: &NatsClaims<'_, T>) -> Result<String, SignError> {
        let signed = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims)?));
        let signature = self.key.sign(signed.as_bytes()).map_err(SignError::Sign)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
