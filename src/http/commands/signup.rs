//! `POST /api/v2/user/signup`: a person signs up and is signed in.
//!
//! In: `username, email, password, sshPublicKey?`. Out: 201 with the user and a token. Both names, the account and the
//! session are one atomic batch: of any number of sign-ups with one name, on any replica, exactly one comes through. With an
//! `Idempotency-Key` it may be repeated: the same words make the same user id, and find their own claim.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::{Account, CreateAccount, Created, Role};
use dockhost_domain::claim::TakeClaim;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::UserId;
use dockhost_domain::names::Username;
use dockhost_domain::session::StartSession;
use dockhost_domain::subject::{ClaimId, ClaimKind};
use dockhost_projections::users::Users;
use secrecy::SecretString;
use serde_json::json;

use super::sessions::{Beginning, holder, new_password, store};
use crate::auth::ssh_key;
use crate::common::clock;
use crate::execute::Batch;
use crate::http::app::App;
use crate::http::extract::caller::USER_COOKIE;
use crate::http::extract::fields::Fields;
use crate::http::extract::idempotency_key::IdempotencyKey;
use crate::http::response::Reply;
use crate::http::response::error::{ApiError, Code, from_execute, impossible};
use crate::http::view;

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

/// The new user's id: drawn, or made of the request's own words if it may be repeated. Whoever was erased and comes back
/// with the same words is somebody new.
async fn user_id(app: &App, key: &IdempotencyKey, username: &Username, email: &str) -> Result<UserId, ApiError> {
    let Some(key) = &key.0 else { return Ok(UserId::from_uuid(clock::fresh_uuid())) };
    let mut id = app.keyring.derived_id([key, username.as_str(), email]);
    while app.executor.confirmed::<Account>(UserId::from_uuid(id)).await?.state.erased {
        id = app.keyring.derived_id([&id.to_string(), username.as_str(), email]);
    }
    Ok(UserId::from_uuid(id))
}

/// Handles the request.
///
/// # Errors
/// `validation_failed`, `invalid_header`, `username_taken`, `email_taken`, and those of the log.
pub async fn post(State(app): State<Arc<App>>, key: IdempotencyKey, body: Fields) -> Result<Reply, ApiError> {
    let SignUp { username, email, password, ssh_public_key } = read(body)?;
    let user_id = user_id(&app, &key, &username, &email).await?;
    let by_name = app.keyring.claim(ClaimKind::Username, username.as_str());
    let by_email = app.keyring.claim(ClaimKind::Email, &email);
    // Cheap and not final: spares a hash to those who come too late.
    match holder(&app, by_name).await? {
        Some(holder) if holder == user_id.into() => return repeated(&app, user_id, password).await,
        Some(_) => return Err(username_taken()),
        None => {}
    }
    if holder(&app, by_email).await?.is_some() {
        return Err(email_taken());
    }
    let password_verifier = app.passwords.hash(password).await?;
    let details = Created {
        username: username.into(),
        email: email.into(),
        password_verifier: password_verifier.into(),
        ssh_public_key: ssh_public_key.map(Into::into),
        role: Role::User,
    };
    let session = Beginning::of(user_id.into(), &app.user_tokens)?;
    let claims: [(ClaimId, fn() -> ApiError); 2] = [(by_name, username_taken), (by_email, email_taken)];
    let origin = app.origin(Actor::Anonymous);
    let sequence = store(&app, origin, |batch| decide(batch, user_id, claims, &details, &session)).await?;
    app.await_projection::<Users>(sequence).await;
    welcome(&app, user_id, session.token, sequence).await
}

/// This very sign-up came through before: who knows its password is signed in, as the first answer would have been.
async fn repeated(app: &App, user_id: UserId, password: SecretString) -> Result<Reply, ApiError> {
    let account = app.executor.confirmed::<Account>(user_id).await?;
    let profile = account.state.profile.as_ref();
    let verifier = profile.and_then(|profile| profile.details.password_verifier.plain().cloned());
    if !app.passwords.verify(password, verifier).await? {
        return Err(username_taken());
    }
    let session = Beginning::of(user_id.into(), &app.user_tokens)?;
    let (token, sequence) = session.record(app, app.origin(Actor::User(user_id))).await?;
    welcome(app, user_id, token, sequence).await
}

async fn welcome(app: &App, user_id: UserId, token: String, sequence: u64) -> Result<Reply, ApiError> {
    let account = app.executor.state::<Account>(user_id).await?;
    let user = account.state.profile.as_ref().map(|profile| view::user(user_id, profile));
    let cookie = app.session_cookie(USER_COOKIE, token.clone());
    Ok(Reply::created("welcome", json!({ "user": user, "accessToken": token }))
        .cookie(&cookie)
        .position(app.position(sequence)))
}

/// Both names, the account and its first session: all or nothing.
async fn decide(
    mut batch: Batch,
    user_id: UserId,
    claims: [(ClaimId, fn() -> ApiError); 2],
    details: &Created,
    session: &Beginning,
) -> Result<Batch, ApiError> {
    let owner = user_id.into();
    for (claim, taken) in claims {
        batch.decide(claim, &TakeClaim { owner }).await.map_err(|error| from_execute(error, |_| taken()))?;
    }
    let account = CreateAccount(details.clone());
    // The same sign-up, sent twice at once: the second finds it done when it is sent again.
    let doubled = |_| ApiError::new(Code::Busy, "this sign-up is being worked on; send it again");
    batch.decide(user_id, &account).await.map_err(|error| from_execute(error, doubled))?;
    let start = StartSession(session.started.clone());
    batch.decide(owner, &start).await.map_err(|error| from_execute(error, impossible))?;
    Ok(batch)
}
