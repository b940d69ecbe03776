//! `POST /api/v2/user/signin`: signs a user in, by username or email address.
//!
//! An unknown name and a wrong password get the same answer after the same work: one Argon2 verification.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::Account;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::UserId;
use dockhost_domain::subject::ClaimKind;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::session_tokens::{RefreshBy, SessionTokens};
use super::sessions::{NewSession, SignInAttempt, SignedIn, account_disabled, claim_owner, sign_in_name};
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, ClientAddress, Device};
use crate::http::response::documented::{BODY, COMMAND, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::User;

/// The name and the password of a user.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "username": "ada", "password": "correct horse" })))]
pub struct SignInRequest {
    /// The username, or the email address. Blanks around it and the case of its letters don't matter.
    #[serde(deserialize_with = "sign_in_name")]
    #[garde(skip)]
    #[schema(pattern = r"^[^\u0000-\u0009\u000b\u000c\u000e-\u001f\u007f-\u009f]*$")]
    username: String,
    #[garde(skip)]
    #[schema(
        value_type = String,
        format = Password,
        pattern = r"^[^\u0000-\u0009\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"
    )]
    password: SecretString,
    // Described by its type: a description here would become a schema of its own.
    #[garde(skip)]
    #[schema(inline)]
    refresh: Option<RefreshBy>,
}

error_responses!(SignInErrors: BODY, COMMAND, &[Code::InvalidCredentials, Code::AccountDisabled]);

/// Sign in
///
/// `username` may also be the email address. The access token is valid for 24 hours; with `refresh`, for 15 minutes, and a refresh
/// token comes with it.
#[utoipa::path(
    post,
    path = "/api/v2/user/signin",
    operation_id = "signIn",
    tag = "Users",
    request_body = SignInRequest,
    responses(
        (status = 200, description = "Signed in.", body = Success<SignedIn>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the sign-in in the log."),
            ("Set-Cookie" = String, description = "The session, as `accessToken`; with `\"refresh\": \"cookie\"` also `refreshToken`."),
        )),
        SignInErrors,
    ),
)]
pub async fn post(
    State(app): State<Arc<App>>,
    client: ClientAddress,
    device: Device,
    Body(SignInRequest { username, password, refresh }): Body<SignInRequest>,
) -> Result<Reply<SignedIn>, ApiError> {
    RefreshBy::check(refresh, &app)?;
    let kind = if username.contains('@') { ClaimKind::Email } else { ClaimKind::Username };
    let attempt = SignInAttempt::begin(&app, kind, &username, client)?;
    let owner = claim_owner(&app, app.keyring.claim(kind, &username)).await?;
    let user_id = owner.map(|owner| UserId::from_uuid(owner.uuid()));
    let profile = match user_id {
        Some(id) => app.executor.confirmed::<Account>(id).await?.state.profile.clone(),
        None => None,
    };
    let verifier = profile.as_ref().and_then(|profile| profile.details.password_verifier.plain().cloned());
    let matches = app.verify_password(client, password, verifier).await?;
    let (Some(user_id), Some(profile), true) = (user_id, profile, matches) else {
        return Err(attempt.failed(owner));
    };
    attempt.succeeded();
    if profile.disabled.is_some() {
        return Err(account_disabled(profile.disabled.as_ref()));
    }
    let session = NewSession::of_user(&app, user_id, device.at(client), refresh);
    let sequence = session.store(&app, app.origin(Actor::User(user_id))).await?;
    let (tokens, cookies) = SessionTokens::of_new(&app, &session, refresh)?;
    let data = SignedIn { user: User::new(user_id, &profile), tokens };
    Ok(Reply::ok("signed in", data).cookies(cookies).position(app.position(sequence)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::{PASSWORD, TestApp};

    const PATH: &str = "/api/v2/user/signin";

    #[tokio::test]
    async fn sign_in_by_username_or_email_succeeds() {
        let app = TestApp::new().await;
        let user = app.signed_up_user("ada").await;
        for name in ["ada", "Ada", "ADA", " ada ", "ada@example.org", "Ada@Example.ORG", "ada@example.org "] {
            let answer = app.post(PATH, json!({ "username": name, "password": PASSWORD })).send().await;
            assert_eq!(answer.status, 200, "{name}: {answer:?}");
            assert_eq!(answer.data()["user"]["id"], user.id.to_string());
            let token = answer.data()["accessToken"].as_str().unwrap();
            assert_eq!(answer.cookie("accessToken").unwrap(), token);
            assert_eq!(app.get("/api/v2/user/instance").token(token).send().await.status, 200);
        }
    }

    #[tokio::test]
    async fn sign_in_after_failures_is_delayed_for_this_name_and_address_only() {
        let app = TestApp::limited("read=600/m").await;
        app.signed_up_user("ada").await;
        app.signed_up_user("eve").await;
        let sign_in = async |username: &str, password: &str, address: &str| {
            let body = json!({ "username": username, "password": password });
            app.post(PATH, body).peer(address).send().await
        };
        // At the same time, so that the delay is long enough for the rest of the test.
        let failing = (0..12).map(|_| sign_in("ada", "battery staple", "192.0.2.1"));
        assert!(futures::future::join_all(failing).await.iter().any(|answer| answer.status == 401));
        // Also with the right password, and however the name is written.
        for (name, password) in [("ada", PASSWORD), ("ADA ", "battery staple")] {
            let refused = sign_in(name, password, "192.0.2.1").await;
            assert_eq!(refused.error(), (429, "rate_limited"), "{refused:?}");
            assert!(refused.header("retry-after").is_some_and(|wait| wait.parse::<u64>().is_ok()), "{refused:?}");
        }
        assert_eq!(sign_in("ada", PASSWORD, "192.0.2.2").await.status, 200, "nobody locks others out");
        assert_eq!(sign_in("eve", PASSWORD, "192.0.2.1").await.status, 200);
        // A success forgets the failures before it.
        for _ in 0..3 {
            for _ in 0..4 {
                assert_eq!(sign_in("eve", "battery staple", "192.0.2.1").await.status, 401);
            }
            assert_eq!(sign_in("eve", PASSWORD, "192.0.2.1").await.status, 200);
        }
    }

    #[tokio::test]
    async fn sign_in_unknown_name_and_wrong_password_get_the_same_answer() {
        let app = TestApp::new().await;
        app.signed_up_user("ada").await;
        let sign_in = async |username: &str, password: &str| {
            let body = json!({ "username": username, "password": password });
            app.post(PATH, body).header("x-request-id", "same").send().await
        };
        let wrong_password = sign_in("ada", "battery staple").await;
        assert_eq!(wrong_password.error(), (401, "invalid_credentials"));
        for username in ["eve", "eve@example.org", "", "a\nb"] {
            assert_eq!(sign_in(username, PASSWORD).await.body, wrong_password.body, "{username}");
        }
    }
}
