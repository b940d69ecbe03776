//! The broker's question "who is this?" and the server's signed answers: NATS JWTs, version 2.
//!
//! In: an authorization request as the broker signed it, or a verdict. Out: the few members of the request that matter,
//! or an authorization response that holds a user JWT. The user JWT confines a connection to one backend's subjects:
//! [`Permissions`] is the whole list. A NATS JWT is a JWS over Ed25519 whose keys are nkeys and whose algorithm has a
//! name of its own, so that general JWT libraries don't read it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dockhost_domain::ids::BackendId;
use dockhost_domain::subject::Channel;
use dockhost_domain::timestamp::Timestamp;
use nkeys::{KeyPair, KeyPairType};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::broker::streams::ASSIGNMENTS;
use crate::common::clock;

/// `{"typ":"JWT","alg":"ed25519-nkey"}`
const JWT_HEADER: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ";
/// The account of `nats.conf` in which backends live.
const AGENTS_ACCOUNT: &str = "AGENTS";
/// No connection is let in for longer; it has to show its key again.
pub const MAX_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// The broker ignores the limits of a user that came through the door; those of the account hold for each connection.
const NO_USER_LIMIT: i64 = -1;

/// The broker asks who a new connection is.
#[derive(Debug)]
pub struct AuthRequest {
    /// The server that asks; the answer is for it alone.
    pub server: String,
    /// The key that the broker made up for this connection; the answer is good for it alone.
    pub user: String,
    /// What the connection gave as its token.
    pub token: Option<SecretString>,
    /// The address of the connection, for the log.
    pub address: String,
}

/// The request is not one that the broker signed.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRequest {
    /// It is no JWT of the wanted shape.
    #[error("it is no authorization request")]
    Malformed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is a JWT about something else, or is not in three parts.
    #[error("it is a token of another kind")]
    OtherKind,
    /// Its signature is not that of the server it names.
    #[error("its signature is wrong")]
    Signature(#[source] nkeys::error::Error),
}

/// A seed or a signature did not work out.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The seed is no seed.
    #[error("DOCKHOST_CALLOUT_SEED is not an nkey seed")]
    Seed(#[source] nkeys::error::Error),
    /// The seed is one of a user or a server.
    #[error("DOCKHOST_CALLOUT_SEED is the seed of something else than an account")]
    NotAnAccount,
    /// The claims could not be signed.
    #[error("the answer could not be signed")]
    Sign(#[source] nkeys::error::Error),
    /// The claims could not be written.
    #[error("the answer could not be written")]
    Write(#[from] serde_json::Error),
}

/// Signs what the door answers. `Debug` shows the public key.
pub struct Signer {
    key: KeyPair,
    issuer: String,
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

/// What a connection may publish and subscribe to; everything else is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Permissions {
    r#pub: AllowList,
    sub: AllowList,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct AllowList {
    allow: Vec<String>,
}

impl Permissions {
    /// One backend's own subjects, and no other's.
    #[must_use]
    pub fn of(backend: BackendId) -> Self {
        let publish = vec![
            Channel::Hello(backend).to_string(),
            Channel::Confirm(backend).to_string(),
            Channel::Report(backend).to_string(),
            Channel::Heartbeat(backend).to_string(),
            format!("$JS.API.CONSUMER.MSG.NEXT.{ASSIGNMENTS}.{backend}"),
        ];
        Self { r#pub: AllowList { allow: publish }, sub: AllowList { allow: vec![format!("_INBOX.{backend}.>")] } }
    }
}

impl Signer {
    /// From the seed of an account key (`SA…`), whose public key `nats.conf` names as the issuer.
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

    /// The answer that lets a backend in until `now + lifetime` (at most [`MAX_LIFETIME`]).
    ///
    /// # Errors
    /// [`SignError::Sign`], [`SignError::Write`].
    pub fn allow(
        &self,
        request: &AuthRequest,
        backend: BackendId,
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
            name: Some(backend.to_string()),
            nats: UserClaims {
                permissions: Permissions::of(backend),
                subs: NO_USER_LIMIT,
                data: NO_USER_LIMIT,
                payload: NO_USER_LIMIT,
                r#type: "user",
                version: 2,
            },
        })?;
        self.respond(request, now, Some(&user), None)
    }

    /// The answer that refuses a connection. The reason goes into the broker's log; the client is told nothing.
    ///
    /// # Errors
    /// [`SignError::Sign`], [`SignError::Write`].
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
        let signed = format!("{JWT_HEADER}.{}", URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims)?));
        let signature = self.key.sign(signed.as_bytes()).map_err(SignError::Sign)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct RequestClaims {
    iss: String,
    nats: RequestBody,
}

#[derive(Deserialize)]
struct RequestBody {
    r#type: String,
    server_id: ServerId,
    user_nkey: String,
    #[serde(default)]
    client_info: ClientInfo,
    #[serde(default)]
    connect_opts: ConnectOpts,
}

#[derive(Deserialize)]
struct ServerId {
    id: String,
}

#[derive(Deserialize, Default)]
struct ClientInfo {
    #[serde(default)]
    host: String,
}

#[derive(Deserialize, Default)]
struct ConnectOpts {
    auth_token: Option<SecretString>,
}

impl AuthRequest {
    /// Reads a request, which must be signed by the server that it names.
    ///
    /// # Errors
    /// [`InvalidRequest`].
    pub fn read(token: &[u8]) -> Result<Self, InvalidRequest> {
        fn malformed(error: impl std::error::Error + Send + Sync + 'static) -> InvalidRequest {
            InvalidRequest::Malformed(Box::new(error))
        }
        let token = std::str::from_utf8(token).map_err(malformed)?;
        let (signed, signature) = token.rsplit_once('.').ok_or(InvalidRequest::OtherKind)?;
        let (header, claims) = signed.split_once('.').ok_or(InvalidRequest::OtherKind)?;
        if header != JWT_HEADER {
            return Err(InvalidRequest::OtherKind);
        }
        let claims: RequestClaims =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).map_err(malformed)?).map_err(malformed)?;
        let RequestClaims { iss, nats: body } = claims;
        if body.r#type != "authorization_request" || iss != body.server_id.id {
            return Err(InvalidRequest::OtherKind);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(malformed)?;
        KeyPair::from_public_key(&iss)
            .and_then(|key| key.verify(signed.as_bytes(), &signature))
            .map_err(InvalidRequest::Signature)?;
        Ok(Self {
            server: iss,
            user: body.user_nkey,
            token: body.connect_opts.auth_token,
            address: body.client_info.host,
        })
    }
}

#[cfg(test)]
mod tests;
