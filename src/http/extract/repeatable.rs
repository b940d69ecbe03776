//! A request that may be repeated: with an `Idempotency-Key`, the same one changes nothing a second time, on any replica.
//!
//! The events that it causes have hashes of the key and of what is asked for, and `execute` finds them again
//! (docs/adr/0028-repeated-requests-are-found-in-the-log.md).

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::idempotency::KeyedRequest;
use secrecy::SecretString;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::IdempotencyKey;
use crate::auth::one_time_token;
use crate::http::app::App;
use crate::http::middleware::asked_for::AskedFor;
use crate::http::response::ApiError;

/// The key of a request, if it has one, and what it asks for.
pub struct Repeatable(Option<Keyed>);

struct Keyed {
    key: String,
    asked_for: AskedFor,
}

impl<S: Send + Sync> FromRequestParts<S> for Repeatable {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let IdempotencyKey(key) = IdempotencyKey::from_request_parts(parts, state).await?;
        let Some(key) = key else { return Ok(Self(None)) };
        let asked_for = parts.extensions.get::<AskedFor>().cloned();
        let asked_for = asked_for.ok_or_else(|| ApiError::bug("nothing says what a request with a key asks for"))?;
        Ok(Self(Some(Keyed { key, asked_for })))
    }
}

impl IntoParams for Repeatable {
    fn into_params(parameter_in: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        IdempotencyKey::into_params(parameter_in)
    }
}

impl Repeatable {
    /// The origin of the events that this request causes.
    pub fn origin(&self, app: &App, actor: Actor) -> Origin {
        self.origin_with(app, actor, None)
    }

    /// The same, if the request creates what gets this id.
    pub fn origin_of_new(&self, app: &App, actor: Actor, created: Uuid) -> Origin {
        self.origin_with(app, actor, Some(created))
    }

    fn origin_with(&self, app: &App, actor: Actor, created: Option<Uuid>) -> Origin {
        let request = self.0.as_ref().map(|Keyed { key, asked_for }| {
            let (caller, keyring) = (actor.to_string(), &app.keyring);
            KeyedRequest {
                key: keyring.request_hash(["key", &caller, key]),
                request: keyring.request_hash(["request", &caller, asked_for.as_str()]),
                created,
            }
        });
        Origin { request, ..app.origin(actor) }
    }

    /// The secret part of what gets this id, if the request can be repeated: the same for each repeat.
    pub fn secret(&self, app: &App, created: Uuid) -> Option<Zeroizing<[u8; 32]>> {
        let Keyed { key, .. } = self.0.as_ref()?;
        Some(app.keyring.derived_secret(["created", &created.to_string(), key]))
    }

    /// The one-time token with this prefix and id: the same for each repeat, or a random one if the request has no key.
    pub fn one_time_token(&self, app: &App, prefix: &str, created: Uuid) -> SecretString {
        match self.secret(app, created) {
            Some(secret) => one_time_token::of_bytes(prefix, &secret),
            None => one_time_token::generate(prefix),
        }
    }
}
