//! `POST /api/v2/user/signin`: a person signs in, by username or email.
//!
//! In: `username, password`. Out: 200 with the user and a token. An unknown name and a wrong password get the same
//! answer after the same work: exactly one Argon2 verification.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::Account;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::UserId;
use dockhost_domain::subject::ClaimKind;
use serde_json::json;

use super::sessions::{Beginning, holder, invalid_credentials, password};
use crate::http::app::App;
use crate::http::extract::caller::USER_COOKIE;
use crate::http::extract::fields::Fields;
use crate::http::response::ApiError;
use crate::http::response::Reply;
use crate::http::view;

/// Handles the request.
///
/// # Errors
/// `validation_failed`, `invalid_credentials`, and those of the log.
pub async fn post(State(app): State<Arc<App>>, mut body: Fields) -> Result<Reply, ApiError> {
    let read = body.required("username").zip(password(&mut body));
    let (name, password) = body.done(read)?;
    let kind = if name.contains('@') { ClaimKind::Email } else { ClaimKind::Username };
    let user_id = holder(&app, app.keyring.claim(kind, &name)).await?.map(|holder| UserId::from_uuid(holder.uuid()));
    let profile = match user_id {
        Some(id) => app.executor.confirmed::<Account>(id).await?.state.profile.clone(),
        None => None,
    };
    let verifier = profile.as_ref().and_then(|profile| profile.details.password_verifier.plain().cloned());
    let matches = app.passwords.verify(password, verifier).await?;
    let (Some(user_id), Some(profile), true) = (user_id, profile, matches) else {
        return Err(invalid_credentials());
    };
    let session = Beginning::of(user_id.into(), &app.user_tokens)?;
    let (token, sequence) = session.record(&app, app.origin(Actor::User(user_id))).await?;
    let cookie = app.session_cookie(USER_COOKIE, token.clone());
    Ok(Reply::ok("signed in", json!({ "user": view::user(user_id, &profile), "accessToken": token }))
        .cookie(&cookie)
        .position(app.position(sequence)))
}
