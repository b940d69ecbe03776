//! The `Idempotency-Key` header: the caller's name for a request that it may have to repeat.

use axum::extract::FromRequestParts;
use axum::http::HeaderName;
use axum::http::request::Parts;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};

use crate::http::openapi::{header_parameter, text};
use crate::http::response::{ApiError, Code};

/// The header.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// In characters.
const MAX_KEY_LENGTH: usize = 255;

/// The key of a request, if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get(IDEMPOTENCY_KEY) else { return Ok(Self(None)) };
        let key = value.to_str().ok().filter(|key| (1..=MAX_KEY_LENGTH).contains(&key.len()));
        let invalid =
            || ApiError::new(Code::InvalidHeader, "Idempotency-Key must be 1 to 255 visible ASCII characters");
        key.map(|key| Self(Some(key.to_owned()))).ok_or_else(invalid)
    }
}

impl IntoParams for IdempotencyKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "Your own name for this request, in case you have to repeat it. For 7 days, the same key with \
                           the same body has the same outcome; with another body it is refused.";
        // The header's own syntax ignores blanks at its ends.
        let schema = text().max_length(Some(MAX_KEY_LENGTH)).pattern(Some(r"^[!-~]([\t -~]*[!-~])?$"));
        vec![header_parameter("Idempotency-Key", description, schema)]
    }
}
