//! Errors in the documented envelope, with a closed list of codes.
//!
//! In: rejections, conflicts and faults of the layers below. Out: `{success: false, message, error: {code, details,
//! requestId}}` with the code's status. The message tells the caller what to do; the cause goes to the log only.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::auth::password::PasswordError;
use crate::common::error::chain;
use crate::event_log::{AppendError, LogError};
use crate::execute::ExecuteError;
use crate::http::middleware::request_id;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident => $text:literal, $status:ident;)*) => {
        /// Every error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code in answers; never changes.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status of the code.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }
        }
    };
}

codes! {
    /// The body is not a JSON object.
    MalformedJson => "malformed_json", BAD_REQUEST;
    /// The content type is not `application/json`.
    UnsupportedMediaType => "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE;
    /// The body exceeds the limit.
    BodyTooLarge => "body_too_large", PAYLOAD_TOO_LARGE;
    /// The request took too long.
    RequestTimeout => "request_timeout", REQUEST_TIMEOUT;
    /// Fields are invalid; `details` has an entry for each.
    ValidationFailed => "validation_failed", UNPROCESSABLE_ENTITY;
    /// A header is malformed.
    InvalidHeader => "invalid_header", BAD_REQUEST;
    /// The SSH key is not an accepted public key.
    InvalidSshKey => "invalid_ssh_key", BAD_REQUEST;
    /// Neither the request nor the account has an SSH key.
    SshKeyRequired => "ssh_key_required", BAD_REQUEST;
    /// No valid token, or its session has ended.
    Unauthorized => "unauthorized", UNAUTHORIZED;
    /// Invalid username or password.
    InvalidCredentials => "invalid_credentials", UNAUTHORIZED;
    /// The user's quota of instances is used up.
    QuotaExceeded => "quota_exceeded", FORBIDDEN;
    /// Does not exist, or belongs to someone else.
    NotFound => "not_found", NOT_FOUND;
    /// The path does not support this method.
    MethodNotAllowed => "method_not_allowed", METHOD_NOT_ALLOWED;
    /// The username is taken.
    UsernameTaken => "username_taken", CONFLICT;
    /// The email address is taken.
    EmailTaken => "email_taken", CONFLICT;
    /// The user has an instance of this name already.
    NameTaken => "name_taken", CONFLICT;
    /// The instance is being deleted.
    InstanceDeleting => "instance_deleting", CONFLICT;
    /// The instance was never created; it can only be deleted.
    InstanceFailed => "instance_failed", CONFLICT;
    /// The `Idempotency-Key` was used for another request.
    IdempotencyKeyReused => "idempotency_key_reused", UNPROCESSABLE_ENTITY;
    /// No backend is connected.
    NoBackend => "no_backend", SERVICE_UNAVAILABLE;
    /// No backend has room.
    NoCapacity => "no_capacity", SERVICE_UNAVAILABLE;
    /// The operation was accepted and failed; the instance has the reasons.
    OperationFailed => "operation_failed", SERVICE_UNAVAILABLE;
    /// Too many concurrent requests; nothing was stored.
    Busy => "busy", SERVICE_UNAVAILABLE;
    /// The event log is unreachable; nothing was stored.
    BrokerUnavailable => "broker_unavailable", SERVICE_UNAVAILABLE;
    /// The event log did not answer in time; the command may or may not be stored.
    OutcomeUnknown => "outcome_unknown", SERVICE_UNAVAILABLE;
    /// The database is unreachable.
    DatabaseUnavailable => "database_unavailable", SERVICE_UNAVAILABLE;
    /// The read model has not reached the `Dockhost-Position` yet.
    NotCaughtUp => "not_caught_up", SERVICE_UNAVAILABLE;
    /// The aggregate has an event that this server can't read; an administrator must act.
    Frozen => "aggregate_frozen", SERVICE_UNAVAILABLE;
    /// The event log is full; nothing was stored.
    LogFull => "log_full", INSUFFICIENT_STORAGE;
    /// A bug in the server.
    Internal => "internal_error", INTERNAL_SERVER_ERROR;
}

/// An error answer.
#[derive(Debug)]
pub struct ApiError {
    code: Code,
    message: String,
    details: Value,
}

impl ApiError {
    /// An error with its public message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: json!({}) }
    }

    /// With details.
    #[must_use]
    pub fn with(mut self, details: Value) -> Self {
        self.details = details;
        self
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

    /// The details.
    #[cfg(test)]
    pub const fn details(&self) -> &Value {
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
        tracing::error!("event log full");
        Self::new(Code::LogFull, "the event log is full; nothing was stored")
    }

    fn busy() -> Self {
        Self::new(Code::Busy, "too many concurrent requests; nothing was stored, try again")
    }
}

/// Maps a rejection by `rejected`, every other failure by its kind.
pub fn from_execute<R>(error: ExecuteError<R>, rejected: impl FnOnce(R) -> ApiError) -> ApiError {
    match error {
        ExecuteError::Rejected(rejection) => rejected(rejection),
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
        let status = self.code.status();
        let body = json!({
            "success": false,
            "message": self.message,
            "error": { "code": self.code.as_str(), "details": self.details, "requestId": request_id::current() },
        });
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn code_texts_are_unique() {
        let texts: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
    }
}
