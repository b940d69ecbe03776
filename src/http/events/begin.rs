//! Where a stream begins.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderName;
use axum::http::request::Parts;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};

use crate::http::admin::list;
use crate::http::app::App;
use crate::http::consistency::{InvalidPosition, POSITION_PATTERN, sequence_of};
use crate::http::openapi::{header_parameter, text};
use crate::http::response::{ApiError, Code};

/// The position that a client has, as browsers send it when they connect again.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Where a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With what happens from now on.
    Now,
    /// After this sequence.
    After(u64),
    /// Now: the client has a position in another log, which was replaced by this one.
    OtherLog,
}

impl Begin {
    /// After the position that a client has.
    ///
    /// # Errors
    /// `validation_failed`, which names `after`.
    pub fn after(app: &App, position: &str) -> Result<Self, ApiError> {
        begin(app, position).ok_or_else(|| list::invalid("after", "is not <log>.<sequence>".to_owned()))
    }
}

/// The header `Last-Event-ID`; none if it is absent or empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastEventId(Option<Begin>);

impl LastEventId {
    /// Where the stream begins: the header wins over the parameter `after`, with which a browser began.
    ///
    /// # Errors
    /// `validation_failed`.
    pub fn or_after(self, app: &App, after: Option<&str>) -> Result<Begin, ApiError> {
        self.0.map_or_else(|| after.map_or(Ok(Begin::Now), |after| Begin::after(app, after)), Ok)
    }
}

fn begin(app: &App, text: &str) -> Option<Begin> {
    match sequence_of(app, text) {
        Ok(sequence) => Some(Begin::After(sequence)),
        Err(InvalidPosition::OtherLog) => Some(Begin::OtherLog),
        Err(InvalidPosition::Malformed) => None,
    }
}

impl FromRequestParts<Arc<App>> for LastEventId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) else {
            return Ok(Self(None));
        };
        let begin = value.to_str().ok().and_then(|text| begin(app, text));
        let invalid = || ApiError::new(Code::InvalidHeader, "Last-Event-ID: is not <log>.<sequence>");
        begin.map(|begin| Self(Some(begin))).ok_or_else(invalid)
    }
}

impl IntoParams for LastEventId {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "The `id` of the last event that you have: the stream begins after it, however long ago that \
                           was and whichever server sent it. Browsers send it when they connect again.";
        vec![header_parameter("Last-Event-ID", description, text().pattern(Some(POSITION_PATTERN)))]
    }
}
