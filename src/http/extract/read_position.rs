//! The `Dockhost-Position` header of a query: the position in the log that the answer must include.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};

use crate::http::app::App;
use crate::http::consistency::{InvalidPosition, POSITION, POSITION_PATTERN, sequence_of};
use crate::http::openapi::{header_parameter, text};
use crate::http::response::{ApiError, Code};

/// The sequence that the answer must include, if the caller asks for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPosition(pub Option<u64>);

impl FromRequestParts<Arc<App>> for ReadPosition {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get(POSITION) else { return Ok(Self(None)) };
        let invalid = |problem: &str| ApiError::new(Code::InvalidHeader, format!("{POSITION}: {problem}"));
        let text = value.to_str().map_err(|_| invalid("is not readable text"))?;
        let sequence = sequence_of(app, text).map_err(|problem| match problem {
            InvalidPosition::Malformed => invalid("is not <log>.<sequence>"),
            InvalidPosition::OtherLog => invalid("is a position in another log"),
        })?;
        Ok(Self(Some(sequence)))
    }
}

impl IntoParams for ReadPosition {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "The `Dockhost-Position` of an earlier answer: this answer is not older, whichever replica it \
                           comes from. The server waits up to 5 s for the read model.";
        vec![header_parameter("Dockhost-Position", description, text().pattern(Some(POSITION_PATTERN)))]
    }
}
