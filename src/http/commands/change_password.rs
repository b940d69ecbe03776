//! `PUT /api/v2/user/me/password`: replaces the caller's password, and ends all other sessions; API tokens only if asked.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::{ChangePassword, PasswordChanged, email_address};
use dockhost_domain::envelope::Actor;
use dockhost_domain::names::Username;
use dockhost_domain::session::EndSessions;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::own_password::{confirm, end_sessions};
use super::sessions::{not_weak, password_length};
use crate::execute::Batch;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, ClientAddress, SignedInUser};
use crate::http::response::documented::{BODY, CALLER_OF_COMMAND, COMMAND, error_responses};
use crate::http::response::error::{from_execute, impossible};
use crate::http::response::{ApiError, Code, Null, Reply, Success};

/// A new password.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "currentPassword": "correct horse", "newPassword": "battery staple" })))]
pub struct ChangePasswordRequest {
    #[garde(skip)]
    #[schema(
        value_type = String,
        format = Password,
        pattern = r"^[^\u0000-\u0009\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"
    )]
    current_password: SecretString,
    #[garde(custom(password_length))]
    #[schema(
        value_type = String,
        format = Password,
        min_length = 8,
        max_length = 128,
        pattern = r"^[^\u0000-\u0009\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"
    )]
    new_password: SecretString,
    /// Whether all API tokens end too; they don't by default.
    #[serde(default)]
    #[garde(skip)]
    revoke_tokens: Option<bool>,
}

error_responses!(
    ChangePasswordErrors: CALLER_OF_COMMAND, BODY, COMMAND, &[Code::WrongPassword, Code::WeakPassword]
);

/// Change your password
///
/// All other sessions end. The session of the request goes on, and so do API tokens unless `revokeTokens` is true.
#[utoipa::path(
    put,
    path = "/api/v2/user/me/password",
    operation_id = "changePassword",
    tag = "Users",
    security(("userToken" = []), ("userCookie" = [])),
    request_body = ChangePasswordRequest,
    responses(
        (status = 200, description = "The password was changed.", body = Success<Null>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the change in the log."),
        )),
        ChangePasswordErrors,
    ),
)]
pub async fn put(
    SignedInUser { user_id, session_id }: SignedInUser,
    State(app): State<Arc<App>>,
    client: ClientAddress,
    Body(request): Body<ChangePasswordRequest>,
) -> Result<Reply<Null>, ApiError> {
    let ChangePasswordRequest { current_password, new_password, revoke_tokens } = request;
    let profile = confirm(&app, client, user_id, current_password).await?;
    let names = [
        profile.details.username.plain().map(Username::as_str),
        email_address(&profile.details.email).map(String::as_str),
    ];
    not_weak(&new_password, names.into_iter().flatten())?;
    let password_verifier = app.hash_password(client, new_password).await?.into();
    let change = ChangePassword(PasswordChanged { password_verifier });
    // In one batch, so that no session outlives the password that it was started with.
    let end = EndSessions { except: Some(session_id), tokens: revoke_tokens.unwrap_or(false) };
    let (origin, change) = (app.origin(Actor::User(user_id)), &change);
    let decide = |mut batch: Batch| async move {
        let erased = |_| ApiError::new(Code::Unauthorized, "the account was erased");
        batch.decide(user_id, change).await.map_err(|error| from_execute(error, erased))?;
        batch.decide(user_id.into(), &end).await.map_err(|error| from_execute(error, impossible))?;
        Ok(batch)
    };
    app.executor.execute_batch::<ApiError, _>(&origin, decide).await?;
    let sequence = end_sessions(&app, user_id, end, Actor::User(user_id)).await?;
    Ok(Reply::ok("the password was changed; all other sessions have ended", Null).position(app.position(sequence)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::{PASSWORD, TestApp};

    const PATH: &str = "/api/v2/user/me/password";

    #[tokio::test]
    async fn password_changed_ends_all_other_sessions() {
        let app = TestApp::new().await;
        let user = app.signed_up_user("ada").await;
        let sign_in = async |password: &str| {
            app.post("/api/v2/user/signin", json!({ "username": "ada", "password": password })).send().await
        };
        let other = sign_in(PASSWORD).await.data()["accessToken"].as_str().unwrap().to_owned();
        let body = json!({ "currentPassword": PASSWORD, "newPassword": "a longer password" });
        let changed = app.put(PATH, body).token(&user.token).send().await;
        assert_eq!(changed.status, 200, "{changed:?}");
        let list = async |token: &str| app.get("/api/v2/user/instance").token(token).send().await.status;
        assert_eq!((list(&user.token).await, list(&other).await), (200, 401));
        assert_eq!(sign_in(PASSWORD).await.error(), (401, "invalid_credentials"));
        assert_eq!(sign_in("a longer password").await.status, 200);
    }

    #[tokio::test]
    async fn password_change_with_a_wrong_or_weak_password_changes_nothing() {
        let app = TestApp::new().await;
        let user = app.signed_up_user("ada").await;
        let events = app.log.events().len();
        for (current, new, code) in [
            ("not this one", "a longer password", (403, "wrong_password")),
            (PASSWORD, "ada@example.org", (422, "weak_password")),
            (PASSWORD, "short", (422, "validation_failed")),
        ] {
            let body = json!({ "currentPassword": current, "newPassword": new });
            assert_eq!(app.put(PATH, body).token(&user.token).send().await.error(), code, "{current} {new}");
        }
        assert_eq!(app.log.events().len(), events);
    }

    #[tokio::test]
    async fn password_guessed_with_a_stolen_token_is_delayed() {
        let app = TestApp::limited("read=600/m").await;
        let user = app.signed_up_user("ada").await;
        let body = json!({ "currentPassword": "not this one", "newPassword": "a longer password" });
        let guesses = (0..12).map(|_| app.put(PATH, body.clone()).token(&user.token).send());
        futures::future::join_all(guesses).await;
        assert_eq!(app.put(PATH, body.clone()).token(&user.token).send().await.error(), (429, "rate_limited"));
    }
}
