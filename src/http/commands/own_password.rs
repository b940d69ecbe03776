//! What the commands share that a user confirms with their current password.

use dockhost_domain::account::{Account, Profile};
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::UserId;
use dockhost_domain::session::EndSessions;
use dockhost_domain::subject::ClaimKind;
use secrecy::SecretString;

use super::sessions::SignInAttempt;
use crate::http::app::App;
use crate::http::extract::ClientAddress;
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code};

/// Checks the password of a signed-in user, with the delays of failed sign-ins: a stolen token is not a way to guess it.
///
/// # Errors
/// `wrong_password`, `rate_limited`, those of the log, and `busy` while too many passwords wait to be checked.
pub async fn confirm(
    app: &App,
    client: ClientAddress,
    user_id: UserId,
    password: SecretString,
) -> Result<Profile, ApiError> {
    let account = app.executor.confirmed::<Account>(user_id).await?.state;
    let erased = || ApiError::new(Code::Unauthorized, "the account was erased");
    let profile = account.profile.clone().ok_or_else(erased)?;
    let attempt = SignInAttempt::begin(app, ClaimKind::Username, &user_id.to_string(), client)?;
    let verifier = profile.details.password_verifier.plain().cloned();
    if !app.verify_password(client, password, verifier).await? {
        attempt.failed(Some(user_id.into()));
        return Err(ApiError::new(Code::WrongPassword, "the current password is wrong"));
    }
    attempt.succeeded();
    Ok(profile)
}

/// Ends sessions of a user until none is left to end; returns the sequence of the last event.
///
/// # Errors
/// Those of the log.
pub async fn end_sessions(app: &App, user_id: UserId, end: EndSessions, actor: Actor) -> Result<u64, ApiError> {
    loop {
        let origin = app.origin(actor);
        let done = app.executor.execute(user_id.into(), origin, end).await;
        let done = done.map_err(|error| from_execute(error, |never| match never {}))?;
        if done.stored.is_none() {
            return Ok(done.current.sequence);
        }
    }
}
