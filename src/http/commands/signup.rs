//! `POST /api/v2/user/signup`: a person signs up and is signed in.
//!
//! In: `username, email, password, sshPublicKey?`. Out: 201 with the user and a token. Both names, the account and the
//! session are one atomic batch: of any number of sign-ups with one name, on any replica, exactly one comes through.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::{CreateAccount, Created, Profile, Role};
use dockhost_domain::claim::TakeClaim;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::UserId;
use dockhost_domain::names::Username;
use dockhost_domain::session::StartSession;
use dockhost_domain::subject::{ClaimId, ClaimKind};
use dockhost_projections::users::Users;
use secrecy::SecretString;
use serde_json::json;

use super::sessions::{Beginning, holder, new_password};
use crate::auth::ssh_key;
use crate::clock;
use crate::event_log::AppendError;
use crate::http::access::USER_COOKIE;
use crate::http::app::App;
use crate::http::error::{ApiError, Code, from_execute, impossible};
use crate::http::fields::Fields;
use crate::http::outcome::READ_MODELS_WITHIN;
use crate::http::reply::Reply;
use crate::http::view;

/// How often a batch is decided anew after a conflict.
pub(super) const TRIES: usize = 10;
const LONGEST_EMAIL: usize = 254;

struct SignUp {
    username: Username,
    email: String,
    password: SecretString,
    ssh_public_key: Option<String>,
}

fn read(mut body: Fields) -> Result<SignUp, ApiError> {
    let username = body.parsed::<Username>("username");
    let email = body.required("email");
    let email = body.check("email", email, |text| {
        let text = text.trim();
        let good = text.len() <= LONGEST_EMAIL && garde::rules::email::parse_email(text).is_ok();
        if good { Ok(text.to_owned()) } else { Err("is not an email address") }
    });
    let password = new_password(&mut body);
    let key = body.optional("sshPublicKey");
    let ssh_public_key = body.check("sshPublicKey", key, ssh_key::normalise);
    let read = username.zip(email).zip(password).map(|((username, email), password)| SignUp {
        username,
        email,
        password,
        ssh_public_key,
    });
    body.done(read)
}

fn username_taken() -> ApiError {
    ApiError::new(Code::UsernameTaken, "this username is taken")
}

fn email_taken() -> ApiError {
    ApiError::new(Code::EmailTaken, "this email address is taken")
}

/// Handles the request.
///
/// # Errors
/// `validation_failed`, `username_taken`, `email_taken`, and those of the log.
pub async fn post(State(app): State<Arc<App>>, body: Fields) -> Result<Reply, ApiError> {
    let SignUp { username, email, password, ssh_public_key } = read(body)?;
    let by_name = app.keyring.claim(ClaimKind::Username, username.as_str());
    let by_email = app.keyring.claim(ClaimKind::Email, &email);
    // Cheap and not final: spares a hash to those who come too late.
    if holder(&app, by_name).await?.is_some() {
        return Err(username_taken());
    }
    if holder(&app, by_email).await?.is_some() {
        return Err(email_taken());
    }
    let password_verifier = app.passwords.hash(password).await?;
    let user_id = UserId::from_uuid(clock::fresh_uuid());
    let details = Created {
        username: username.into(),
        email: email.into(),
        password_verifier: password_verifier.into(),
        ssh_public_key: ssh_public_key.map(Into::into),
        role: Role::User,
    };
    let session = Beginning::of(user_id.into(), &app.user_tokens)?;
    let sequence =
        store(&app, user_id, [(by_name, username_taken), (by_email, email_taken)], &details, &session).await?;
    app.positions.reached::<Users>(sequence, READ_MODELS_WITHIN).await;
    let user = view::user(user_id, &Profile { details, created_at: clock::now() });
    let cookie = app.session_cookie(USER_COOKIE, session.token.clone());
    Ok(Reply::created("welcome", json!({ "user": user, "accessToken": session.token }))
        .cookie(&cookie)
        .position(app.position(sequence)))
}

async fn store(
    app: &App,
    user_id: UserId,
    claims: [(ClaimId, fn() -> ApiError); 2],
    details: &Created,
    session: &Beginning,
) -> Result<u64, ApiError> {
    let owner = user_id.into();
    for _ in 0..TRIES {
        let mut batch = app.executor.batch(app.origin(Actor::Anonymous));
        for (claim, taken) in claims {
            batch.decide(claim, &TakeClaim { owner }).await.map_err(|error| from_execute(error, |_| taken()))?;
        }
        let account = CreateAccount(details.clone());
        batch.decide(user_id, &account).await.map_err(|error| from_execute(error, impossible))?;
        let start = StartSession(session.started.clone());
        batch.decide(owner, &start).await.map_err(|error| from_execute(error, impossible))?;
        match batch.commit().await {
            Ok(sequence) => return Ok(sequence),
            Err(AppendError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(AppendError::Conflict.into())
}
