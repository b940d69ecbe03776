//! The broker's authorization request: who is this new connection?

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use secrecy::SecretString;
use serde::Deserialize;

use super::HEADER;
use crate::common::error::Cause;

/// An authorization request.
#[derive(Debug)]
pub struct AuthRequest {
    /// The public key of the broker node that asks; the response is for it alone.
    pub server: String,
    /// The key that the broker generated for this connection; the response is valid for it alone.
    pub user: String,
    /// The token that the client gave.
    pub token: Option<SecretString>,
    /// The client's address, for the log.
    pub address: String,
}

/// The request was not signed by a broker node.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRequest {
    /// It is not a JWT with the expected claims.
    #[error("not an authorization request")]
    Malformed(#[source] Cause),
    /// It is a token of another kind, or not in three parts.
    #[error("a token of another kind")]
    OtherKind,
    /// Its signature is not that of the node that it names.
    #[error("the signature is wrong")]
    Signature(#[source] nkeys::error::Error),
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
    /// Reads a request and checks that the node that it names has signed it.
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
        if header != HEADER {
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
