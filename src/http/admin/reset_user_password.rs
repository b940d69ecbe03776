//! `POST /api/v2/admin/users/{userId}/password-reset`: issues a token with which a user sets a new password.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use dockhost_domain::account::{IssuePasswordReset, NoSuchAccount, PasswordResetIssued};
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::UserId;
use dockhost_domain::timestamp::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::reset_token::ResetToken;
use crate::common::clock;
use crate::http::app::App;
use crate::http::commands::reset_password::secret_hash;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentAdmin, Path, Repeatable};
use crate::http::response::documented::{ADMIN_OF_COMMAND, COMMAND, REPEATABLE, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};

/// How long a token is valid: long enough to reach a person by other means.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// What the user needs to set a new password.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordReset {
    /// Valid once, for `POST /api/v2/user/password/reset`. Shown only here.
    token: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

error_responses!(ResetUserPasswordErrors: ADMIN_OF_COMMAND, COMMAND, REPEATABLE, &[Code::NotFound]);

/// Issue a password reset
///
/// Give the token to the user. With it, they set a new password within 24 hours, once; their password stays valid until then.
/// An earlier token of the user is no longer valid.
#[utoipa::path(
    post,
    path = "/api/v2/admin/users/{userId}/password-reset",
    operation_id = "issuePasswordReset",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("userId" = Uuid, Path, description = "The user's id."), Repeatable),
    responses(
        (status = 201, description = "The token.", body = Success<PasswordReset>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the issue in the log."),
        )),
        ResetUserPasswordErrors,
    ),
)]
pub async fn post(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(user_id): Path<String>,
    key: Repeatable,
) -> Result<Reply<PasswordReset>, ApiError> {
    let not_found = || ApiError::not_found("user");
    let user_id: UserId = user_id.parse().map_err(|_| not_found())?;
    let reset_id = clock::fresh_uuid();
    let token_of = |reset_id| match key.secret(&app, reset_id) {
        Some(secret) => ResetToken::with_secret(user_id, &secret),
        None => ResetToken::random(user_id),
    };
    let (token, expires_at) = (token_of(reset_id), clock::now().after(LIFETIME));
    let issue = IssuePasswordReset(PasswordResetIssued { secret_hash: secret_hash(&app, &token), expires_at });
    let done = app
        .executor
        .execute(user_id, key.origin_of_new(&app, Actor::Admin(admin), reset_id), issue)
        .await
        .map_err(|error| from_execute(error, |NoSuchAccount| not_found()))?;
    let (token, expires_at) = match done.repeated.and_then(|first| first.created) {
        None => (token, expires_at),
        Some(first) => {
            let token = token_of(first);
            let profile = done.current.state.profile.as_ref();
            let reset = profile.and_then(|profile| profile.password_reset.as_ref());
            let reset = reset.filter(|reset| reset.secret_hash == secret_hash(&app, &token));
            let is_over = "the token that this request issued was used or replaced; issue another one";
            (token, reset.ok_or_else(|| ApiError::new(Code::NotFound, is_over))?.expires_at)
        }
    };
    let data = PasswordReset { token: token.as_str().to_owned(), expires_at };
    let message = "give the token to the user; it is shown only here";
    Ok(Reply::created(message, data).position(app.position(done.current.sequence)))
}
