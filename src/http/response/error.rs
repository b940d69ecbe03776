//! Error answers: `{success: false, message, error: {code, details, requestId}}`.
//!
//! In: rejections, conflicts and faults of the layers below. The message tells the caller what to do; the cause goes to
//! the log only.

use std::time::Duration;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::code::Code;
use super::details::{Details, FieldProblem};
use super::reply::always;
use crate::auth::password::PasswordError;
use crate::common::error::chain;
use crate::common::quota::whole_seconds;
use crate::event_log::{AppendError, LogError};
use crate::execute::ExecuteError;
use crate::http::middleware::request_id;

/// Seconds after which a caller may try again.
const RETRY_AFTER: u64 = 1;

/// An error answer.
#[derive(Debug)]
pub struct ApiError {
    code: Code,
    message: String,
    details: Details,
    /// Seconds after which the caller may try again.
    retry_after: Option<u64>,
}

/// The envelope of an error.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub struct ErrorEnvelope {
    #[schema(schema_with = always::<false>)]
    success: bool,
    /// What the caller can do, for people.
    message: String,
    error: ErrorBody,
}

/// What went wrong, for programs.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ErrorBody {
    code: Code,
    details: Details,
    /// The request's id, as in the header `x-request-id`.
    request_id: String,
}

impl ApiError {
    /// An error with its public message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let is_temporary = code.status() == StatusCode::SERVICE_UNAVAILABLE;
        Self {
            code,
            message: message.into(),
            details: Details::None {},
            retry_after: is_temporary.then_some(RETRY_AFTER),
        }
    }

    /// With details.
    #[must_use]
    pub fn with(mut self, details: Details) -> Self {
        self.details = details;
        self
    }

    /// With the time after which the caller may try again.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(whole_seconds(wait)), ..self }
    }

    /// One member of the request is invalid.
    pub fn invalid_field(field: &str, problem: impl Into<String>) -> Self {
        let problem = FieldProblem { field: field.to_owned(), problem: problem.into() };
        Self::new(Code::ValidationFailed, "some fields are invalid").with(Details::Fields(vec![problem]))
    }

    /// The same for what does not exist and for what belongs to someone else.
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}"))
    }

    /// An internal error: the cause is logged, the caller gets the request id.
    pub fn internal(cause: &dyn std::error::Error) -> Self {
        Self::bug(&chain(cause))
    }

    /// An internal error that has no `Error` as its cause.
    pub fn bug(what: &str) -> Self {
        tracing::error!(error = what, "internal error");
        Self::new(Code::Internal, "internal error; the request id identifies it in the server's log")
    }

    /// The database is unreachable.
    pub fn database(cause: &dyn std::error::Error) -> Self {
        tracing::warn!(error = chain(cause), "database unavailable");
        Self::new(Code::DatabaseUnavailable, "the database is unreachable; try again")
    }

    /// The code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// What the caller can do, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The details.
    pub const fn details(&self) -> &Details {
        &self.details
    }

    fn broker(cause: &dyn std::error::Error) -> Self {
        tracing::warn!(error = chain(cause), "event log unavailable");
        Self::new(Code::BrokerUnavailable, "the event log is unreachable; nothing was stored, try again")
    }

    fn unknown(cause: &dyn std::error::Error) -> Self {
        tracing::warn!(error = chain(cause), "outcome of a command unknown");
        let message =
            "the event log did not answer in time: the command may or may not be stored; check before repeating";
        Self::new(Code::OutcomeUnknown, message)
    }

    fn frozen(cause: &dyn std::error::Error) -> Self {
        tracing::error!(error = chain(cause), "command on a frozen aggregate");
        Self::new(Code::Frozen, "an event can't be read by this server; an administrator must act first")
    }

    fn full() -> Self {
        tracing::warn!("command refused: the event log has no room for it");
        let message = "the event log is nearly full and takes only what ends something; nothing was stored";
        Self::new(Code::LogFull, message)
    }

    /// Too much of this at once.
    pub fn busy() -> Self {
        Self::new(Code::Busy, "too many concurrent requests; nothing was stored, try again")
    }
}

/// Maps a rejection by `rejected`, every other failure by its kind.
pub fn from_execute<R>(error: ExecuteError<R>, rejected: impl FnOnce(R) -> ApiError) -> ApiError {
    match error {
        ExecuteError::Rejected(rejection) => rejected(rejection),
        ExecuteError::KeyReused => {
            ApiError::new(Code::IdempotencyKeyReused, "this Idempotency-Key was used with another request")
        }
        ExecuteError::RequestInFlight => {
            let message =
                "a request with this Idempotency-Key is being carried out; repeat it when that one is answered";
            ApiError::new(Code::RequestInFlight, message)
        }
        ExecuteError::Busy => ApiError::busy(),
        ExecuteError::Full => ApiError::full(),
        ExecuteError::Unavailable(cause) => ApiError::broker(&*cause),
        ExecuteError::Unknown(cause) => ApiError::unknown(&*cause),
        ExecuteError::Frozen(cause) => ApiError::frozen(&*cause),
    }
}

/// A rejection that only a bug can cause.
pub fn impossible<R: std::error::Error>(rejection: R) -> ApiError {
    ApiError::internal(&rejection)
}

impl From<LogError> for ApiError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Unavailable(cause) => Self::broker(&*cause),
            LogError::Frozen { .. } => Self::frozen(&error),
        }
    }
}

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict => Self::busy(),
            AppendError::Full => Self::full(),
            AppendError::Unavailable(cause) => Self::broker(&*cause),
            AppendError::InFlight => Self::unknown(&error),
            AppendError::Unknown(cause) => Self::unknown(&*cause),
        }
    }
}

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::busy(),
            PasswordError::Failed(_) => Self::internal(&error),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { code, message, details, retry_after } = self;
        let error = ErrorBody { code, details, request_id: request_id::current() };
        let mut response = (code.status(), Json(ErrorEnvelope { success: false, message, error })).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
