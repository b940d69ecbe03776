//! The closed list of error codes.

use std::borrow::Cow;

use axum::http::StatusCode;
use serde::{Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

macro_rules! codes {
    ($($name:ident, $text:literal, $status:ident, $meaning:literal;)*) => {
        /// Every error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $meaning] $name,)*
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

            /// One sentence for the API's document.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

codes! {
    MalformedJson, "malformed_json", BAD_REQUEST,
        "The body is not a JSON object, or could not be read.";
    UnsupportedMediaType, "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE,
        "The content type is not `application/json`.";
    BodyTooLarge, "body_too_large", PAYLOAD_TOO_LARGE,
        "The body exceeds 64 KiB.";
    RequestTimeout, "request_timeout", REQUEST_TIMEOUT,
        "The request took too long. A command that was stored continues.";
    ValidationFailed, "validation_failed", UNPROCESSABLE_ENTITY,
        "Fields are invalid; `details` lists all of them as `{field, problem}`.";
    WeakPassword, "weak_password", UNPROCESSABLE_ENTITY,
        "The password is too easy to guess; `details` says why, as `{field, problem}`.";
    InvalidHeader, "invalid_header", BAD_REQUEST,
        "A header is malformed, or a position belongs to another log.";
    InvalidSshKey, "invalid_ssh_key", BAD_REQUEST,
        "The SSH key is not an accepted public key; `message` says why.";
    SshKeyRequired, "ssh_key_required", BAD_REQUEST,
        "Neither the request nor the account has an SSH key.";
    Unauthorized, "unauthorized", UNAUTHORIZED,
        "The token is missing or invalid, or its session has ended.";
    InvalidCredentials, "invalid_credentials", UNAUTHORIZED,
        "Invalid username or password.";
    InvalidRefreshToken, "invalid_refresh_token", UNAUTHORIZED,
        "The refresh token is missing or invalid, or its session has ended; sign in again.";
    RefreshTokenReused, "refresh_token_reused", UNAUTHORIZED,
        "The refresh token was used before, so it was copied; its session is ended, sign in again.";
    InsufficientScope, "insufficient_scope", FORBIDDEN,
        "The scope of the API token does not include this; `message` says what is needed.";
    Forbidden, "forbidden", FORBIDDEN,
        "Only administrators may do this.";
    AccountDisabled, "account_disabled", FORBIDDEN,
        "An administrator disabled the account.";
    InvalidResetToken, "invalid_reset_token", FORBIDDEN,
        "The token of the password reset is not valid, was used, or has expired.";
    WrongPassword, "wrong_password", FORBIDDEN,
        "The current password is wrong.";
    KeyRevoked, "key_revoked", FORBIDDEN,
        "An administrator revoked the key of this backend.";
    ForeignOrigin, "foreign_origin", FORBIDDEN,
        "A page of another origin sent a command with the cookie; only `FRONTEND_URL` and this server's own pages may.";
    SignupClosed, "signup_closed", FORBIDDEN,
        "Nobody may sign up here.";
    InvitationRequired, "invitation_required", FORBIDDEN,
        "Signing up requires an `invitation` or a valid `inviteCode`.";
    InvalidInvitation, "invalid_invitation", FORBIDDEN,
        "The `invitation` is not valid, was used or revoked, or has expired.";
    EnrolmentRefused, "enrolment_refused", FORBIDDEN,
        "Registering a backend requires the server's `enrolmentSecret`.";
    QuotaExceeded, "quota_exceeded", FORBIDDEN,
        "Your quota leaves no room for the instance; `details` is `{limit, used}`, or `{resource, limit, used, asked}`.";
    GroupEnded, "group_ended", FORBIDDEN,
        "Your group has ended, so you can't create or resume instances.";
    NotFound, "not_found", NOT_FOUND,
        "It does not exist, or it belongs to someone else.";
    MethodNotAllowed, "method_not_allowed", METHOD_NOT_ALLOWED,
        "The path does not support this method.";
    UsernameTaken, "username_taken", CONFLICT,
        "The username is taken.";
    EmailTaken, "email_taken", CONFLICT,
        "The email address is taken.";
    LastAdministrator, "last_administrator", CONFLICT,
        "This is the last administrator; make another one first.";
    NotCordoned, "not_cordoned", CONFLICT,
        "The backend may be given instances; cordon it before it is removed, or use `force`.";
    BackendDraining, "backend_draining", CONFLICT,
        "An administrator drains the backend of the instance, so the instance can't be resumed.";
    TokenUsed, "token_used", CONFLICT,
        "A backend was registered with this enrolment token, or a user signed up with this invitation.";
    TooManyTokens, "too_many_tokens", CONFLICT,
        "As many tokens of this kind are valid as there may be; revoke some first.";
    GroupNameTaken, "group_name_taken", CONFLICT,
        "There is a group of this name.";
    TooManyGroups, "too_many_groups", CONFLICT,
        "There are as many groups as there may be.";
    GroupNotEmpty, "group_not_empty", CONFLICT,
        "Users are in the group, or are invited to it.";
    NameTaken, "name_taken", CONFLICT,
        "You already have an instance, or an SSH key, of this name.";
    KeyExists, "key_exists", CONFLICT,
        "Your account has this SSH key already; `message` says under which name.";
    TooManyKeys, "too_many_keys", CONFLICT,
        "Your account has as many SSH keys as it may have; remove some first.";
    StillQuarantined, "still_quarantined", CONFLICT,
        "This server can't read the event for which the aggregate is quarantined either; `message` says which one and why.";
    TooManyWebhooks, "too_many_webhooks", CONFLICT,
        "You have as many webhooks as you may have; remove some first.";
    InstanceExpired, "instance_expired", CONFLICT,
        "The time to live of the instance is over; extend `expiresAt`, or have an administrator extend what your group allows.";
    InstanceDeleting, "instance_deleting", CONFLICT,
        "The instance is being deleted.";
    InstanceFailed, "instance_failed", CONFLICT,
        "The instance was never created; delete it and create another.";
    RequestInFlight, "request_in_flight", CONFLICT,
        "A request with this `Idempotency-Key` is being carried out; nothing was stored for this one. Repeat it when that one is answered.";
    IdempotencyKeyReused, "idempotency_key_reused", UNPROCESSABLE_ENTITY,
        "The `Idempotency-Key` was used with another request.";
    PreconditionFailed, "precondition_failed", PRECONDITION_FAILED,
        "The resource was changed since the answer whose `ETag` is in `If-Match`.";
    RateLimited, "rate_limited", TOO_MANY_REQUESTS,
        "Too many requests, or too many failed sign-ins; wait as long as `Retry-After` says.";
    TooManyStreams, "too_many_streams", TOO_MANY_REQUESTS,
        "You have as many event streams as you may have; end one of them.";
    NoFreeStream, "no_free_stream", SERVICE_UNAVAILABLE,
        "The server has as many event streams as it may have.";
    NoBackend, "no_backend", SERVICE_UNAVAILABLE,
        "No backend is connected; `details.reasons` counts the backends by reason.";
    NoCapacity, "no_capacity", SERVICE_UNAVAILABLE,
        "No connected backend has room; `details.reasons` counts the backends by reason.";
    OperationFailed, "operation_failed", SERVICE_UNAVAILABLE,
        "The command was accepted, but the operation failed; `details.reasons` says why.";
    Busy, "busy", SERVICE_UNAVAILABLE,
        "Too many concurrent requests; nothing was stored.";
    BrokerUnavailable, "broker_unavailable", SERVICE_UNAVAILABLE,
        "The event log is unreachable; nothing was stored.";
    OutcomeUnknown, "outcome_unknown", SERVICE_UNAVAILABLE,
        "The event log did not answer in time: the command may or may not be stored. Check before you repeat it, or repeat it with the same `Idempotency-Key`.";
    DatabaseUnavailable, "database_unavailable", SERVICE_UNAVAILABLE,
        "The database is unreachable. Commands still work.";
    NotCaughtUp, "not_caught_up", SERVICE_UNAVAILABLE,
        "The read model has not reached the `Dockhost-Position` yet, or it was lost and is folded again.";
    Frozen, "aggregate_frozen", SERVICE_UNAVAILABLE,
        "The log has an event here that this server can't read; an administrator must act.";
    LogFull, "log_full", INSUFFICIENT_STORAGE,
        "The event log is full, or nearly full and takes only what ends something (stop, delete, sign-out); nothing was stored.";
    Internal, "internal_error", INTERNAL_SERVER_ERROR,
        "A bug in the server; the request id identifies it in the server's log.";
}

impl Code {
    /// The schema of one of these codes.
    pub fn one_of(codes: &[Self]) -> ObjectBuilder {
        ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::String))
            .enum_values(Some(codes.iter().map(|code| code.as_str())))
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        let lines = Self::ALL
            .iter()
            .map(|code| format!("- `{}` ({}): {}", code.as_str(), code.status().as_u16(), code.meaning()));
        Self::one_of(Self::ALL)
            .description(Some(format!(
                "What went wrong. Codes never change.\n\n{}",
                lines.collect::<Vec<_>>().join("\n")
            )))
            .into()
    }
}

impl ToSchema for Code {
    fn name() -> Cow<'static, str> {
        "ErrorCode".into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn code_texts_are_unique() {
        let texts: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
    }
}
