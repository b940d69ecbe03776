//! `POST /api/v2/backend/signin`: signs a backend in and returns its current `DOCKHOST_API_KEY`.
//!
//! The key is derived, not drawn: the answer is the same each time, and a running agent is not disturbed.

use std::sync::Arc;

use axum::extract::State;
use axum_extra::extract::cookie::Cookie;
use dockhost_domain::backend::Backend;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::BackendId;
use dockhost_domain::subject::ClaimKind;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::sessions::{NewSession, SignInAttempt, SignedInBackend, claim_owner, sign_in_name, signed_in_backend};
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{BACKEND_COOKIE, Body, ClientAddress};
use crate::http::response::documented::{BODY, COMMAND, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};

/// The name and the password of a backend.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "username": "lab-1", "password": "correct horse" })))]
pub struct BackendSignInRequest {
    /// Blanks around it and the case of its letters don't matter.
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
}

error_responses!(BackendSignInErrors: BODY, COMMAND, &[Code::InvalidCredentials, Code::KeyRevoked]);

/// Sign a backend in
///
/// Returns the same agent key each time; a running agent is not disturbed.
#[utoipa::path(
    post,
    path = "/api/v2/backend/signin",
    operation_id = "signInBackend",
    tag = "Backends",
    request_body = BackendSignInRequest,
    responses(
        (status = 200, description = "Signed in.", body = Success<SignedInBackend>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the sign-in in the log."),
            ("Set-Cookie" = String, description = "The session, as `accessTokenBE`."),
        )),
        BackendSignInErrors,
    ),
)]
pub async fn post(
    State(app): State<Arc<App>>,
    client: ClientAddress,
    Body(BackendSignInRequest { username, password }): Body<BackendSignInRequest>,
) -> Result<Reply<SignedInBackend>, ApiError> {
    let (data, cookie, sequence) = sign_in(&app, &username, password, client).await?;
    Ok(Reply::ok("signed in", data).cookies(cookie).position(app.position(sequence)))
}

/// Starts a session of a backend; also returns its cookie, if there are cookies, and its sequence.
///
/// # Errors
/// `invalid_credentials`, `key_revoked`, `rate_limited`, and those of the log.
pub async fn sign_in(
    app: &App,
    username: &str,
    password: SecretString,
    client: ClientAddress,
) -> Result<(SignedInBackend, Option<Cookie<'static>>, u64), ApiError> {
    let attempt = SignInAttempt::begin(app, ClaimKind::Backend, username, client)?;
    let owner = claim_owner(app, app.keyring.claim(ClaimKind::Backend, username)).await?;
    let backend_id = owner.map(|owner| BackendId::from_uuid(owner.uuid()));
    let machine = match backend_id {
        Some(id) => app.executor.confirmed::<Backend>(id).await?.state.machine.clone(),
        None => None,
    };
    let verifier = machine.as_ref().and_then(|machine| machine.details.password_verifier.plain().cloned());
    let matches = app.verify_password(client, password, verifier).await?;
    let (Some(backend_id), Some(machine), true) = (backend_id, machine, matches) else {
        return Err(attempt.failed(owner));
    };
    attempt.succeeded();
    if machine.is_key_revoked {
        return Err(ApiError::new(Code::KeyRevoked, "an administrator revoked the key of this backend"));
    }
    let session = NewSession::of_backend(app, backend_id);
    let sequence = session.store(app, app.origin(Actor::Backend(backend_id))).await?;
    let token = session.token(&app.backend_tokens)?;
    let data = signed_in_backend(app, backend_id, &machine, token.clone())?;
    Ok((data, app.session_cookie(BACKEND_COOKIE, token, app.settings.session_lifetime), sequence))
}

#[cfg(test)]
mod tests {
    use dockhost_domain::backend::{IssueKey, RevokeKey};
    use serde_json::json;

    use crate::http::testing::{PASSWORD, TestApp};

    const PATH: &str = "/api/v2/backend/signin";

    #[tokio::test]
    async fn backend_sign_in_returns_the_same_agent_key() {
        let app = TestApp::new().await;
        let backend = app.signed_up_backend("lab-1").await;
        let sign_in = || app.post(PATH, json!({ "username": "lab-1", "password": PASSWORD })).send();
        let (first, second) = (sign_in().await, sign_in().await);
        assert_eq!(first.status, 200, "{first:?}");
        for member in ["backend", "DOCKHOST_API_KEY"] {
            assert_eq!(first.data()[member], second.data()[member]);
        }
        assert_eq!(first.data()["accessToken"], first.cookie("accessTokenBE").unwrap());
        assert_eq!(first.data()["backend"]["id"], backend.id.to_string());
        let token = first.cookie("accessTokenBE").unwrap();
        assert_eq!(app.get("/api/v2/backend").token(&token).send().await.status, 200);
    }

    #[tokio::test]
    async fn backend_sign_in_with_a_revoked_key_gives_nothing_until_another_is_issued() {
        let app = TestApp::new().await;
        let backend = app.signed_up_backend("lab-1").await;
        let sign_in = || app.post(PATH, json!({ "username": "lab-1", "password": PASSWORD })).send();
        let first = sign_in().await;
        app.execute(backend.id, RevokeKey).await;
        let refused = sign_in().await;
        assert_eq!((refused.error(), refused.cookie("accessTokenBE")), ((403, "key_revoked"), None));
        let wrong = app.post(PATH, json!({ "username": "lab-1", "password": "battery staple" })).send().await;
        assert_eq!(wrong.error(), (401, "invalid_credentials"), "only who knows the password learns it");
        app.execute(backend.id, IssueKey::default()).await;
        let second = sign_in().await;
        assert_eq!(second.status, 200, "{second:?}");
        assert_ne!(first.data()["DOCKHOST_API_KEY"], second.data()["DOCKHOST_API_KEY"]);
    }

    #[tokio::test]
    async fn backend_sign_in_with_wrong_credentials_is_refused() {
        let app = TestApp::new().await;
        app.signed_up_backend("lab-1").await;
        for (username, password) in [("lab-1", "battery staple"), ("lab-2", PASSWORD)] {
            let answer = app.post(PATH, json!({ "username": username, "password": password })).send().await;
            assert_eq!(answer.error(), (401, "invalid_credentials"), "{username}");
        }
    }
}
