//! Errors as the API shows them: one envelope, one closed list of codes.
//!
//! In: rejections, conflicts and faults of the layers below. Out: `{success:false, message, error:{code, details,
//! requestId}}` with the status that belongs to the code. Public text says what the caller can do; the cause goes to
//! the service's own log only.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::request_id;
use crate::auth::password::PasswordError;
use crate::common::error::chain;
use crate::event_log::{AppendError, LogError};
use crate::execute::ExecuteError;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident => $text:literal, $status:ident;)*) => {
        /// Every code that an answer may carry; `docs/API.md` explains each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word in the answer; never changes.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The status that goes with it.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }
        }
    };
}

codes! {
    /// The body is not JSON.
    MalformedJson => "malformed_json", BAD_REQUEST;
    /// The body's type is not JSON.
    UnsupportedMediaType => "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE;
    /// The body is over the limit.
    BodyTooLarge => "body_too_large", PAYLOAD_TOO_LARGE;
    /// The body did not arrive in time.
    RequestTimeout => "request_timeout", REQUEST_TIMEOUT;
    /// One or more fields are wrong; `details` has an entry for each.
    ValidationFailed => "validation_failed", UNPROCESSABLE_ENTITY;
    /// A header has no readable value.
    InvalidHeader => "invalid_header", BAD_REQUEST;
    /// The SSH key is not a good public key.
    InvalidSshKey => "invalid_ssh_key", BAD_REQUEST;
    /// Neither the request nor the account has an SSH key.
    SshKeyRequired => "ssh_key_required", BAD_REQUEST;
    /// No good token came along.
    Unauthorized => "unauthorized", UNAUTHORIZED;
    /// Name and password don't belong together.
    InvalidCredentials => "invalid_credentials", UNAUTHORIZED;
    /// The user has as many instances as they may.
    QuotaExceeded => "quota_exceeded", FORBIDDEN;
    /// There is no such thing, or it is another's.
    NotFound => "not_found", NOT_FOUND;
    /// The path does not take this method.
    MethodNotAllowed => "method_not_allowed", METHOD_NOT_ALLOWED;
    /// The username is taken.
    UsernameTaken => "username_taken", CONFLICT;
    /// The email address is taken.
    EmailTaken => "email_taken", CONFLICT;
    /// The user has an instance of this name.
    NameTaken => "name_taken", CONFLICT;
    /// The instance is being deleted.
    InstanceDeleting => "instance_deleting", CONFLICT;
    /// The instance never came to be.
    InstanceFailed => "instance_failed", CONFLICT;
    /// The `Idempotency-Key` was used for another request.
    IdempotencyKeyReused => "idempotency_key_reused", UNPROCESSABLE_ENTITY;
    /// No backend is connected.
    NoBackend => "no_backend", SERVICE_UNAVAILABLE;
    /// No backend has room.
    NoCapacity => "no_capacity", SERVICE_UNAVAILABLE;
    /// The operation was accepted and could not be done; the instance shows why.
    OperationFailed => "operation_failed", SERVICE_UNAVAILABLE;
    /// Too much of this at once; nothing was done.
    Busy => "busy", SERVICE_UNAVAILABLE;
    /// The event log can't be reached; nothing was done.
    BrokerUnavailable => "broker_unavailable", SERVICE_UNAVAILABLE;
    /// The event log did not answer in time: it may or may not be done.
    OutcomeUnknown => "outcome_unknown", SERVICE_UNAVAILABLE;
    /// The database can't be reached.
    DatabaseUnavailable => "database_unavailable", SERVICE_UNAVAILABLE;
    /// The read models have not reached the `Dockhost-Position` yet.
    NotCaughtUp => "not_caught_up", SERVICE_UNAVAILABLE;
    /// The events hold something that this server can't read; an administrator must look.
    Frozen => "aggregate_frozen", SERVICE_UNAVAILABLE;
    /// The event log is full; nothing was done.
    LogFull => "log_full", INSUFFICIENT_STORAGE;
    /// A fault of ours.
    Internal => "internal_error", INTERNAL_SERVER_ERROR;
}

/// An error on its way out.
#[derive(Debug)]
pub struct ApiError {
    code: Code,
    message: String,
    details: Value,
}

impl ApiError {
    /// An error with its public sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: json!({}) }
    }

    /// With details.
    #[must_use]
    pub fn with(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    /// What belongs to somebody else and what isn't there look the same.
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}"))
    }

    /// A fault of ours: the cause is logged, the caller gets the request id.
    pub fn internal(cause: &dyn std::error::Error) -> Self {
        tracing::error!(error = chain(cause), "a request failed through a fault of ours");
        Self::new(Code::Internal, "something went wrong on our side")
    }

    /// The database can't be reached.
    pub fn database(cause: &dyn std::error::Error) -> Self {
        tracing::warn!(error = chain(cause), "the database did not answer");
        Self::new(Code::DatabaseUnavailable, "the database can't be reached; try again")
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
        tracing::warn!(error = chain(cause), "the event log did not answer");
        Self::new(Code::BrokerUnavailable, "the event log can't be reached; nothing was done, try again")
    }

    fn unknown(cause: &dyn std::error::Error) -> Self {
        tracing::warn!(error = chain(cause), "the outcome of a command is unknown");
        Self::new(Code::OutcomeUnknown, "no answer came in time: it may or may not be done; look before trying again")
    }

    fn frozen(cause: &dyn std::error::Error) -> Self {
        tracing::error!(error = chain(cause), "a command met a frozen aggregate");
        Self::new(Code::Frozen, "this can't be changed until an administrator has looked at it")
    }

    fn full() -> Self {
        tracing::error!("the event log is full");
        Self::new(Code::LogFull, "the event log is full; nothing was done")
    }

    fn busy() -> Self {
        Self::new(Code::Busy, "too much of this at once; nothing was done, try again")
    }
}

/// Turns the rejection by `rejected`, everything else by its kind.
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

/// A rejection that only a fault of ours can bring about.
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
    fn each_code_has_a_word_of_its_own() {
        let words: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
    }
}
