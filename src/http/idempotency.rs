//! `Idempotency-Key`: a caller's own name for a request that it may have to repeat.
//!
//! In: the header. Out: the key, if there is one; one that could not be compared later is refused.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::error::{ApiError, Code};

const LONGEST: usize = 255;

/// The key of a request, if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get("idempotency-key") else { return Ok(Self(None)) };
        let key = value.to_str().ok().filter(|key| (1..=LONGEST).contains(&key.len()));
        let refused = || ApiError::new(Code::InvalidHeader, "Idempotency-Key must be 1 to 255 visible characters");
        key.map(|key| Self(Some(key.to_owned()))).ok_or_else(refused)
    }
}
