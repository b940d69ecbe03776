//! What sign-up and sign-in share, for users and backends alike: names, passwords, and the session that begins.

use std::time::Duration;

use dockhost_domain::claim::Claim;
use dockhost_domain::envelope::Origin;
use dockhost_domain::ids::{PrincipalId, SessionId};
use dockhost_domain::session::{StartRejected, StartSession, Started};
use dockhost_domain::subject::ClaimId;
use dockhost_domain::timestamp::Timestamp;
use secrecy::SecretString;

use crate::auth::token::{Bearer, TOKEN_LIFETIME_SECONDS, Tokens};
use crate::common::clock;
use crate::event_log::AppendError;
use crate::execute::Batch;
use crate::http::app::App;
use crate::http::extract::fields::Fields;
use crate::http::response::error::{ApiError, Code, from_execute, impossible};

const PASSWORD_LENGTH: std::ops::RangeInclusive<usize> = 8..=128;

/// A session that begins now, and its token.
pub struct Beginning {
    /// To be recorded.
    pub started: Started,
    /// To be handed out once it is.
    pub token: String,
    /// Whose.
    pub principal: PrincipalId,
}

impl Beginning {
    /// Draws a session.
    ///
    /// # Errors
    /// If the token can't be signed.
    pub fn of(principal: PrincipalId, tokens: &Tokens) -> Result<Self, ApiError> {
        let now = clock::now();
        let expires_at: Timestamp = now.after(Duration::from_secs(u64::from(TOKEN_LIFETIME_SECONDS)));
        let session_id = SessionId::from_uuid(clock::fresh_uuid());
        let token = tokens
            .issue(Bearer { principal, session: session_id }, now, expires_at)
            .map_err(|error| ApiError::internal(&error))?;
        Ok(Self { started: Started { session_id, expires_at }, token, principal })
    }

    /// Records it by itself; returns its sequence.
    ///
    /// # Errors
    /// If the log doesn't take it.
    pub async fn record(self, app: &App, origin: Origin) -> Result<(String, u64), ApiError> {
        let done = app
            .executor
            .execute(self.principal, origin, StartSession(self.started))
            .await
            .map_err(|error| from_execute(error, refused))?;
        Ok((self.token, done.current.sequence))
    }
}

/// Reads a new password.
pub fn new_password(body: &mut Fields) -> Option<SecretString> {
    let text = body.required("password");
    body.check("password", text, |text| {
        if PASSWORD_LENGTH.contains(&text.chars().count()) {
            Ok(SecretString::from(text))
        } else {
            Err("must be 8 to 128 characters long")
        }
    })
}

/// Reads a password to be checked: whatever it is, it is checked and not judged; its length is bounded by the body's.
pub fn password(body: &mut Fields) -> Option<SecretString> {
    body.required("password").map(SecretString::from)
}

/// Who holds a name, as the log has it.
///
/// # Errors
/// If the log can't be asked.
pub async fn holder(app: &App, claim: ClaimId) -> Result<Option<PrincipalId>, ApiError> {
    Ok(app.executor.confirmed::<Claim>(claim).await?.state.owner)
}

/// Why no session begins. Somebody who was erased meanwhile is answered like somebody who never was.
fn refused(rejection: StartRejected) -> ApiError {
    match rejection {
        StartRejected::Closed => invalid_credentials(),
        StartRejected::Exists => impossible(rejection),
    }
}

/// How often a batch is decided anew after a conflict.
const TRIES: usize = 10;

/// Decides and stores a batch, and again after each conflict; returns its last sequence.
///
/// # Errors
/// What `decide` refuses, and those of the log.
pub async fn store<F>(app: &App, origin: Origin, decide: impl Fn(Batch) -> F) -> Result<u64, ApiError>
where
    F: Future<Output = Result<Batch, ApiError>>,
{
    for _ in 0..TRIES {
        match decide(app.executor.batch(origin.clone())).await?.commit().await {
            Ok(sequence) => return Ok(sequence),
            Err(AppendError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(AppendError::Conflict.into())
}

/// The same words for an unknown name and a wrong password.
pub fn invalid_credentials() -> ApiError {
    ApiError::new(Code::InvalidCredentials, "invalid username or password")
}
