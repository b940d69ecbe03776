//! `POST /api/v2/user/password/reset`: sets a new password with the token that an administrator issued, and ends all sessions.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::{Account, InvalidReset, PasswordChanged, ResetPassword, email_address};
use dockhost_domain::envelope::Actor;
use dockhost_domain::names::Username;
use dockhost_domain::session::EndSessions;
use dockhost_domain::subject::ClaimKind;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::own_password::end_sessions;
use super::sessions::{SignInAttempt, not_weak, password_length};
use crate::auth::reset_token::ResetToken;
use crate::common::clock;
use crate::execute::Batch;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, ClientAddress, Repeatable};
use crate::http::response::documented::{BODY, COMMAND, REPEATABLE, error_responses};
use crate::http::response::error::{from_execute, impossible};
use crate::http::response::{ApiError, Code, Null, Reply, Success};

/// A new password, and the token that allows it.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({
    "token": "AZOzoAAAcACAAAAAAAAAAX6sLkVwZ2h0ZXN0dG9rZW5vZnRoZWRvY3VtZW50MDEy",
    "newPassword": "battery staple",
})))]
pub struct ResetPasswordRequest {
    /// From an administrator.
    #[garde(skip)]
    #[schema(
        value_type = String,
        pattern = r"^[^\u0000-\u0009\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"
    )]
    token: SecretString,
    #[garde(custom(password_length))]
    #[schema(
        value_type = String,
        format = Password,
        min_length = 8,
        max_length = 128,
        pattern = r"^[^\u0000-\u0009\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"
    )]
    new_password: SecretString,
}

error_responses!(ResetPasswordErrors: BODY, COMMAND, REPEATABLE, &[Code::InvalidResetToken, Code::WeakPassword]);

/// What is stored of a token.
pub fn secret_hash(app: &App, token: &ResetToken) -> String {
    app.keyring.keyed_hash(["password-reset", "token", token.as_str()])
}

fn invalid() -> ApiError {
    ApiError::new(Code::InvalidResetToken, "the token is not valid, was used, or has expired; ask for another one")
}

/// Reset your password
///
/// With the token of an administrator, which is valid once and for 24 hours. All sessions end. Sign in with the new password
/// afterwards.
#[utoipa::path(
    post,
    path = "/api/v2/user/password/reset",
    operation_id = "resetPassword",
    tag = "Users",
    params(Repeatable),
    request_body = ResetPasswordRequest,
    responses(
        (status = 200, description = "The password was set.", body = Success<Null>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the change in the log."),
        )),
        ResetPasswordErrors,
    ),
)]
pub async fn post(
    State(app): State<Arc<App>>,
    client: ClientAddress,
    key: Repeatable,
    Body(ResetPasswordRequest { token, new_password }): Body<ResetPasswordRequest>,
) -> Result<Reply<Null>, ApiError> {
    let token: ResetToken = token.expose_secret().trim().parse().map_err(|_| invalid())?;
    let (user_id, secret_hash) = (token.user_id(), secret_hash(&app, &token));
    let origin = key.origin(&app, Actor::User(user_id));
    let first = app.executor.first_request::<Account, Infallible>(user_id, &origin).await;
    if first.map_err(|error| from_execute(error, |never| match never {}))?.is_some() {
        let account = app.executor.state::<Account>(user_id).await?;
        return Ok(answer(&app, account.sequence));
    }
    let attempt = SignInAttempt::begin(&app, ClaimKind::Username, &user_id.to_string(), client)?;
    let account = app.executor.confirmed::<Account>(user_id).await?.state;
    // The batch decides; this check comes before the work of hashing a password.
    let checked = account.check_reset(&secret_hash, clock::now());
    let (Ok(()), Some(profile)) = (checked, &account.profile) else {
        attempt.failed(Some(user_id.into()));
        return Err(invalid());
    };
    let names = [
        profile.details.username.plain().map(Username::as_str),
        email_address(&profile.details.email).map(String::as_str),
    ];
    not_weak(&new_password, names.into_iter().flatten())?;
    let password_verifier = app.hash_password(client, new_password).await?.into();
    let reset = &ResetPassword { secret_hash, now: clock::now(), changed: PasswordChanged { password_verifier } };
    let end = EndSessions { except: None, tokens: true };
    // In one batch, so that no session outlives the password that it was started with.
    let decide = |mut batch: Batch| async move {
        batch.decide(user_id, reset).await.map_err(|error| from_execute(error, |InvalidReset| invalid()))?;
        batch.decide(user_id.into(), &end).await.map_err(|error| from_execute(error, impossible))?;
        Ok(batch)
    };
    app.executor.execute_batch::<ApiError, _>(&origin, decide).await?;
    attempt.succeeded();
    let sequence = end_sessions(&app, user_id, end, Actor::User(user_id)).await?;
    Ok(answer(&app, sequence))
}

fn answer(app: &App, sequence: u64) -> Reply<Null> {
    Reply::ok("the password was set; all sessions have ended", Null).position(app.position(sequence))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dockhost_domain::account::{IssuePasswordReset, PasswordResetIssued};
    use dockhost_domain::envelope::{Actor, Origin};
    use dockhost_domain::ids::UserId;
    use serde_json::json;

    use super::secret_hash;
    use crate::auth::reset_token::ResetToken;
    use crate::common::clock;
    use crate::http::testing::{Answer, Caller, PASSWORD, TestApp};

    const NEW: &str = "battery staple";

    /// Issues a token; returns it.
    async fn issue(app: &TestApp, admin: &Caller<UserId>, user: &Caller<UserId>) -> String {
        let path = format!("/api/v2/admin/users/{}/password-reset", user.id);
        let answer = app.post(&path, json!({})).token(&admin.token).send().await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let token = answer.data()["token"].as_str().unwrap().to_owned();
        let stored = format!("{:?}", app.log.events());
        assert!(!stored.contains(&token), "only a hash is stored");
        token
    }

    async fn reset(app: &TestApp, token: &str, password: &str) -> Answer {
        app.post("/api/v2/user/password/reset", json!({ "token": token, "newPassword": password })).send().await
    }

    async fn sign_in(app: &TestApp, password: &str) -> u16 {
        let body = json!({ "username": "ada", "password": password });
        app.post("/api/v2/user/signin", body).send().await.status
    }

    #[tokio::test]
    async fn password_reset_sets_it_once_and_ends_all_sessions() {
        let app = TestApp::new().await;
        let (boss, ada) = (app.admin("boss").await, app.signed_up_user("ada").await);
        let (replaced, token) = (issue(&app, &boss, &ada).await, issue(&app, &boss, &ada).await);
        assert_eq!(app.get("/api/v2/user/instance").token(&ada.token).send().await.status, 200);
        assert_eq!(sign_in(&app, PASSWORD).await, 200, "the old password is valid until then");
        // A password that is refused does not use the token up.
        assert_eq!(reset(&app, &token, "ada-example").await.status, 200);
        assert_eq!((sign_in(&app, PASSWORD).await, sign_in(&app, "ada-example").await), (401, 200));
        assert_eq!(app.get("/api/v2/user/instance").token(&ada.token).send().await.status, 401);
        for token in [&token, &replaced] {
            assert_eq!(reset(&app, token, NEW).await.error(), (403, "invalid_reset_token"));
        }
    }

    #[tokio::test]
    async fn password_reset_to_a_weak_one_leaves_the_token_valid() {
        let app = TestApp::new().await;
        let (boss, ada) = (app.admin("boss").await, app.signed_up_user("ada").await);
        let token = issue(&app, &boss, &ada).await;
        for (password, code) in [("sunshine", "weak_password"), ("short", "validation_failed")] {
            assert_eq!(reset(&app, &token, password).await.error(), (422, code));
        }
        assert_eq!(reset(&app, &format!(" {token}\n"), NEW).await.status, 200);
        assert_eq!(sign_in(&app, NEW).await, 200);
    }

    #[tokio::test]
    async fn password_reset_by_another_or_an_expired_token_is_refused_with_the_delays_of_sign_ins() {
        let app = TestApp::limited("read=600/m").await;
        let (boss, ada) = (app.admin("boss").await, app.signed_up_user("ada").await);
        for token in ["", "token", &"A".repeat(64)] {
            assert_eq!(reset(&app, token, NEW).await.error(), (403, "invalid_reset_token"), "{token}");
        }
        let token = ResetToken::random(ada.id);
        let past = PasswordResetIssued { secret_hash: secret_hash(&app.app, &token), expires_at: clock::now() };
        let origin = Origin::new(Actor::Admin(boss.id), "test");
        app.app.executor.execute(ada.id, origin, IssuePasswordReset(past)).await.unwrap();
        assert_eq!(reset(&app, token.as_str(), NEW).await.error(), (403, "invalid_reset_token"));
        // At the same time, so that the delay is long enough.
        let other = ResetToken::random(ada.id);
        let guesses = (0..12).map(|_| reset(&app, other.as_str(), NEW));
        futures::future::join_all(guesses).await;
        let refused = reset(&app, other.as_str(), NEW).await;
        assert_eq!(refused.error(), (429, "rate_limited"), "{refused:?}");
        assert_eq!(sign_in(&app, NEW).await, 401);
    }

    #[tokio::test]
    async fn password_reset_is_issued_for_a_user_that_exists_for_a_day() {
        let app = TestApp::new().await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        let post = |id: &str| app.post(&format!("/api/v2/admin/users/{id}/password-reset"), json!({}));
        for id in ["ada", "0193b3a0-0000-7000-8000-000000000001"] {
            assert_eq!(post(id).token(&boss.token).send().await.error(), (404, "not_found"), "{id}");
        }
        let before = clock::now();
        let answer = post(&ada.id.to_string()).token(&boss.token).send().await;
        let expires = serde_json::from_value(answer.data()["expiresAt"].clone()).unwrap();
        let day = Duration::from_secs(24 * 60 * 60);
        assert!(before.after(day) <= expires && expires <= clock::now().after(day), "{answer:?}");
    }
}
