//! Session tokens: JWTs (HS256) for users and for backends, with one secret for each audience.
//!
//! An API token of a user is one as well, of an audience of its own and with a prefix. Versions of the server that know
//! nothing of scopes therefore refuse it.
//!
//! The verifier fixes the algorithm; the token's header does not choose it.

use std::time::Duration;

use dockhost_domain::ids::{PrincipalId, SessionId};
use dockhost_domain::timestamp::Timestamp;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How long each access token of a session with a refresh token is valid.
pub const SHORT_TOKEN_LIFETIME: Duration = Duration::from_secs(15 * 60);
/// The tolerated clock skew between replicas in seconds.
const LEEWAY_SECONDS: u64 = 30;
const ISSUER: &str = "dockhost";
/// Of API tokens, so that people and secret scanners recognise one.
const API_TOKEN_PREFIX: &str = "dhu_";

/// The kind of principal that a token authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Users who signed in.
    User,
    /// Users who signed in, to get further tokens of the same session.
    Refresh,
    /// Users' programs, with API tokens.
    ApiToken,
    /// Backends, over HTTP.
    Backend,
    /// Agents, at the broker.
    Agent,
}

impl Audience {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::User => "dockhost-user",
            Self::Refresh => "dockhost-user-refresh",
            Self::ApiToken => "dockhost-user-token",
            Self::Backend => "dockhost-backend",
            Self::Agent => "dockhost-agent",
        }
    }
}

/// The token is forged, malformed or expired. The reason is for the server's log only.
#[derive(Debug, thiserror::Error)]
#[error("invalid token")]
pub struct InvalidToken(#[source] pub(super) Option<jsonwebtoken::errors::Error>);

/// The principal and session of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bearer {
    /// The principal.
    pub principal: PrincipalId,
    /// The session.
    pub session: SessionId,
}

#[derive(Serialize, Deserialize)]
struct SessionClaims {
    iss: String,
    aud: String,
    sub: String,
    sid: String,
    jti: String,
    iat: i64,
    exp: i64,
}

#[derive(Serialize, Deserialize)]
struct RefreshClaims {
    iss: String,
    aud: String,
    sub: String,
    sid: String,
    num: u32,
    exp: i64,
}

/// A secret that signs tokens, and the one before it, whose tokens are accepted as well.
#[derive(Debug, Clone)]
pub struct TokenSecret {
    /// Signs, and verifies.
    pub current: SecretString,
    /// Only verifies; `None` if tokens of the secret before are refused.
    pub previous: Option<SecretString>,
}

impl From<String> for TokenSecret {
    /// Without a previous one.
    fn from(current: String) -> Self {
        Self { current: current.into(), previous: None }
    }
}

/// Signs with the current secret, and verifies with both.
pub(super) struct SecretKeys {
    pub(super) encoding: EncodingKey,
    decoding: DecodingKey,
    previous: Option<DecodingKey>,
}

impl SecretKeys {
    pub(super) fn new(TokenSecret { current, previous }: &TokenSecret) -> Self {
        let decoding = |secret: &SecretString| DecodingKey::from_secret(secret.expose_secret().as_bytes());
        Self {
            encoding: EncodingKey::from_secret(current.expose_secret().as_bytes()),
            decoding: decoding(current),
            previous: previous.as_ref().map(decoding),
        }
    }

    /// The claims of a token that one of the secrets has signed.
    pub(super) fn decode<C: DeserializeOwned>(&self, token: &str, rules: &Validation) -> Result<C, InvalidToken> {
        let decode = |key| jsonwebtoken::decode::<C>(token, key, rules);
        let decoded = match (decode(&self.decoding), &self.previous) {
            (Err(error), Some(previous)) if matches!(error.kind(), ErrorKind::InvalidSignature) => decode(previous),
            (decoded, _) => decoded,
        };
        decoded.map(|token| token.claims).map_err(|error| InvalidToken(Some(error)))
    }
}

/// Issues and verifies the tokens of one audience.
pub struct Tokens {
    audience: Audience,
    keys: SecretKeys,
    validation: Validation,
}

impl Tokens {
    /// Tokens of one audience, signed with this secret.
    pub fn new(audience: Audience, secret: &TokenSecret) -> Self {
        let mut validation = validation(audience, &["iss", "aud", "sub", "exp"]);
        // By the machine's clock; `read` uses the corrected one.
        validation.validate_exp = false;
        Self { audience, keys: SecretKeys::new(secret), validation }
    }

    /// A token for a session that starts now.
    ///
    /// # Errors
    /// If signing fails, which it does not with a symmetric key.
    pub fn issue(&self, bearer: Bearer, now: Timestamp, expires_at: Timestamp) -> Result<String, InvalidToken> {
        let claims = SessionClaims {
            iss: ISSUER.to_owned(),
            aud: self.audience.as_str().to_owned(),
            sub: bearer.principal.to_string(),
            sid: bearer.session.to_string(),
            jti: bearer.session.to_string(),
            iat: now.seconds(),
            exp: expires_at.seconds(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.keys.encoding)
            .map_err(|e| InvalidToken(Some(e)))
    }

    /// The principal and session of a token that is valid at `now`.
    ///
    /// # Errors
    /// [`InvalidToken`] for anything but a valid token of this audience.
    pub fn read(&self, token: &str, now: Timestamp) -> Result<Bearer, InvalidToken> {
        let claims: SessionClaims = self.keys.decode(token, &self.validation)?;
        if claims.exp.saturating_add(LEEWAY_SECONDS.cast_signed()) < now.seconds() {
            return Err(InvalidToken(None));
        }
        match (claims.sub.parse(), claims.sid.parse()) {
            (Ok(principal), Ok(session)) => Ok(Bearer { principal, session }),
            _ => Err(InvalidToken(None)),
        }
    }
}

/// Signs and verifies the refresh tokens of sessions. A token has a number and no random part: the one of a number is the same
/// whenever, and by whichever replica, it is signed with a secret. So the log needs to keep the number only.
struct RefreshTokens {
    keys: SecretKeys,
    validation: Validation,
}

impl RefreshTokens {
    fn new(secret: &TokenSecret) -> Self {
        let mut validation = validation(Audience::Refresh, &["iss", "aud", "sub", "exp"]);
        // By the machine's clock; the session's state has its end.
        validation.validate_exp = false;
        Self { keys: SecretKeys::new(secret), validation }
    }

    fn issue(&self, bearer: Bearer, number: u32, until: Timestamp) -> Result<SecretString, InvalidToken> {
        let claims = RefreshClaims {
            iss: ISSUER.to_owned(),
            aud: Audience::Refresh.as_str().to_owned(),
            sub: bearer.principal.to_string(),
            sid: bearer.session.to_string(),
            num: number,
            exp: until.seconds(),
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.keys.encoding);
        token.map(SecretString::from).map_err(|error| InvalidToken(Some(error)))
    }

    fn read(&self, token: &str) -> Result<(Bearer, u32), InvalidToken> {
        let claims: RefreshClaims = self.keys.decode(token, &self.validation)?;
        match (claims.sub.parse(), claims.sid.parse()) {
            (Ok(principal), Ok(session)) => Ok((Bearer { principal, session }, claims.num)),
            _ => Err(InvalidToken(None)),
        }
    }
}

/// The tokens of users: those of sign-ins, and API tokens.
pub struct UserTokens {
    sign_ins: Tokens,
    refresh_tokens: RefreshTokens,
    api_tokens: Tokens,
}

impl UserTokens {
    /// Tokens that are signed with one secret.
    pub fn new(secret: &TokenSecret) -> Self {
        Self {
            sign_ins: Tokens::new(Audience::User, secret),
            refresh_tokens: RefreshTokens::new(secret),
            api_tokens: Tokens::new(Audience::ApiToken, secret),
        }
    }

    /// Those of sign-ins.
    pub const fn sign_ins(&self) -> &Tokens {
        &self.sign_ins
    }

    /// The refresh token of a session with this number; the session ends at the latest `until`.
    ///
    /// # Errors
    /// As [`Tokens::issue`].
    pub fn issue_refresh_token(
        &self,
        bearer: Bearer,
        number: u32,
        until: Timestamp,
    ) -> Result<SecretString, InvalidToken> {
        self.refresh_tokens.issue(bearer, number, until)
    }

    /// The session of a genuine refresh token, and its number. Whether it is spent or has expired is the session's to say.
    ///
    /// # Errors
    /// [`InvalidToken`] for anything but a genuine refresh token.
    pub fn read_refresh_token(&self, token: &str) -> Result<(Bearer, u32), InvalidToken> {
        self.refresh_tokens.read(token)
    }

    /// An API token that is made now.
    ///
    /// # Errors
    /// As [`Tokens::issue`].
    pub fn issue_api_token(
        &self,
        bearer: Bearer,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<SecretString, InvalidToken> {
        let token = self.api_tokens.issue(bearer, now, expires_at)?;
        Ok(format!("{API_TOKEN_PREFIX}{token}").into())
    }

    /// The user and the session of a token of either kind.
    ///
    /// # Errors
    /// As [`Tokens::read`].
    pub fn read(&self, token: &str, now: Timestamp) -> Result<Bearer, InvalidToken> {
        match token.strip_prefix(API_TOKEN_PREFIX) {
            Some(token) => self.api_tokens.read(token, now),
            None => self.sign_ins.read(token, now),
        }
    }
}

/// The validation rules for tokens of this audience.
pub(super) fn validation(audience: Audience, required: &[&str]) -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.leeway = LEEWAY_SECONDS;
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[audience.as_str()]);
    validation.set_required_spec_claims(required);
    validation
}

/// The issuer in every token.
pub(super) const fn issuer() -> &'static str {
    ISSUER
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::clock;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn tokens(audience: Audience, secret: &str) -> Tokens {
        crate::common::install_crypto();
        Tokens::new(audience, &secret.to_owned().into())
    }

    fn bearer() -> Bearer {
        let id = clock::fresh_uuid();
        Bearer { principal: PrincipalId::from_uuid(id), session: SessionId::from_uuid(id) }
    }

    fn issued() -> (Bearer, String) {
        let bearer = bearer();
        let now = clock::now();
        let token = tokens(Audience::User, SECRET).issue(bearer, now, now.after(Duration::from_secs(60))).unwrap();
        (bearer, token)
    }

    #[test]
    fn token_issue_and_read_round_trips() {
        let (bearer, token) = issued();
        assert_eq!(tokens(Audience::User, SECRET).read(&token, clock::now()).unwrap(), bearer);
    }

    #[test]
    fn token_of_the_previous_secret_is_valid_and_new_ones_have_the_current_secret() {
        let (bearer, old) = issued();
        let new_secret = "another secret of enough length!";
        let both = TokenSecret { current: new_secret.to_owned().into(), previous: Some(SECRET.to_owned().into()) };
        let during = Tokens::new(Audience::User, &both);
        assert_eq!(during.read(&old, clock::now()).unwrap(), bearer);
        let now = clock::now();
        let new = during.issue(bearer, now, now.after(Duration::from_secs(60))).unwrap();
        assert_eq!(during.read(&new, now).unwrap(), bearer);
        let after = tokens(Audience::User, new_secret);
        assert_eq!(after.read(&new, now).unwrap(), bearer, "it is signed with the current secret");
        assert!(after.read(&old, now).is_err());
        // The other rules hold for the previous secret, too.
        assert!(Tokens::new(Audience::Backend, &both).read(&old, now).is_err());
        assert!(during.read(&old, now.after(Duration::from_secs(3600))).is_err(), "expired");
        let third = tokens(Audience::User, "a third secret that nobody knows").issue(bearer, now, now).unwrap();
        assert!(during.read(&third, now).is_err());
    }

    #[test]
    fn token_of_another_audience_secret_or_time_is_invalid() {
        let (_, token) = issued();
        assert!(tokens(Audience::Backend, SECRET).read(&token, clock::now()).is_err());
        assert!(tokens(Audience::User, "another secret of enough length!").read(&token, clock::now()).is_err());
        let long_ago = Timestamp::from_millis(1_000_000);
        let expired = tokens(Audience::User, SECRET).issue(bearer(), long_ago, long_ago).unwrap();
        assert!(tokens(Audience::User, SECRET).read(&expired, clock::now()).is_err());
    }

    #[test]
    fn api_token_is_valid_with_its_prefix_only_and_is_no_sign_in() {
        crate::common::install_crypto();
        let (bearer, now) = (bearer(), clock::now());
        let later = now.after(Duration::from_secs(60));
        let tokens = UserTokens::new(&SECRET.to_owned().into());
        let token = tokens.issue_api_token(bearer, now, later).unwrap();
        let token = token.expose_secret();
        let jwt = token.strip_prefix("dhu_").unwrap();
        assert_eq!(tokens.read(token, now).unwrap(), bearer);
        // Servers of earlier versions read tokens in this way.
        assert!(tokens.sign_ins().read(token, now).is_err() && tokens.read(jwt, now).is_err());
        let sign_in = tokens.sign_ins().issue(bearer, now, later).unwrap();
        assert!(tokens.read(&format!("dhu_{sign_in}"), now).is_err());
    }

    #[test]
    fn refresh_token_of_a_number_is_always_the_same_and_opens_nothing_else() {
        crate::common::install_crypto();
        let (bearer, now) = (bearer(), clock::now());
        let until = now.after(Duration::from_secs(3600));
        let tokens = UserTokens::new(&SECRET.to_owned().into());
        let issue = |tokens: &UserTokens, number| {
            tokens.issue_refresh_token(bearer, number, until).unwrap().expose_secret().to_owned()
        };
        let token = issue(&tokens, 7);
        assert_eq!(issue(&UserTokens::new(&SECRET.to_owned().into()), 7), token, "another replica");
        assert_ne!(issue(&tokens, 8), token);
        assert_eq!(tokens.read_refresh_token(&token).unwrap(), (bearer, 7));
        // No access token is a refresh token, and the other way round.
        assert!(tokens.read(&token, now).is_err() && tokens.read(&format!("dhu_{token}"), now).is_err());
        let sign_in = tokens.sign_ins().issue(bearer, now, until).unwrap();
        assert!(tokens.read_refresh_token(&sign_in).is_err());
        let others = UserTokens::new(&"another secret of enough length!".to_owned().into());
        assert!(others.read_refresh_token(&token).is_err());
        for garbage in ["", "a.b.c", &token[1..], &token[..token.len() - 1]] {
            assert!(tokens.read_refresh_token(garbage).is_err(), "{garbage} was accepted");
        }
        // The tokens of the secret before go on, and their successors have the current one.
        let both = TokenSecret {
            current: "another secret of enough length!".to_owned().into(),
            previous: Some(SECRET.to_owned().into()),
        };
        let during = UserTokens::new(&both);
        assert_eq!(during.read_refresh_token(&token).unwrap(), (bearer, 7));
        assert_eq!(issue(&during, 8), issue(&others, 8));
    }

    #[test]
    fn token_with_another_algorithm_is_invalid() {
        let (_, token) = issued();
        let mut parts = token.split('.');
        let (_, payload) = (parts.next().unwrap(), parts.next().unwrap());
        for header in [r#"{"alg":"none","typ":"JWT"}"#, r#"{"alg":"HS384","typ":"JWT"}"#, r#"{"alg":"RS256"}"#] {
            let header = URL_SAFE_NO_PAD.encode(header);
            for signature in ["", "AAAA"] {
                let forged = format!("{header}.{payload}.{signature}");
                assert!(tokens(Audience::User, SECRET).read(&forged, clock::now()).is_err(), "{forged} was accepted");
            }
        }
        for garbage in ["", ".", "..", "a.b.c", &token[1..], &format!("{token}x")] {
            assert!(tokens(Audience::User, SECRET).read(garbage, clock::now()).is_err(), "{garbage} was accepted");
        }
    }
}
