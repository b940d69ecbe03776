//! What sign-up and sign-in share, for users and backends: claims and new sessions.

use dockhost_domain::account::DisabledSince;
use dockhost_domain::backend::Machine;
use dockhost_domain::claim::Claim;
use dockhost_domain::envelope::Origin;
use dockhost_domain::ids::{BackendId, PrincipalId, SessionId, UserId};
use dockhost_domain::names::Username;
use dockhost_domain::refusal::{RefusalKind, RefusalSource};
use dockhost_domain::session::{MAX_AGE, SessionClient, StartRejected, StartSession, Started, idle_end};
use dockhost_domain::subject::{AggregateId, ClaimId, ClaimKind};
use dockhost_domain::timestamp::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::session_tokens::{RefreshBy, SessionTokens};
use crate::auth::api_key::ApiKeyId;
use crate::auth::password_rules;
use crate::auth::token::{Bearer, Tokens};
use crate::common::{areas, clock};
use crate::http::app::App;
use crate::http::extract::ClientAddress;
use crate::http::limits::Attempt;
use crate::http::response::details::FieldProblem;
use crate::http::response::error::{from_execute, impossible};
use crate::http::response::{ApiError, Code, Details};
use crate::http::views::{Backend, User};

/// Phones capitalise the first letter and add a blank. No two names differ in these only.
pub fn sign_in_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(String::deserialize(deserializer)?.trim().to_lowercase())
}

/// A signed-in user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignedIn {
    pub user: User,
    #[serde(flatten)]
    pub tokens: SessionTokens,
}

/// A signed-in backend.
#[derive(Serialize, ToSchema)]
pub struct SignedInBackend {
    pub backend: Backend,
    /// The key of the backend's agent.
    #[serde(rename = "DOCKHOST_API_KEY")]
    pub api_key: String,
    /// For this API; also set as the cookie `accessTokenBE`.
    #[serde(rename = "accessToken")]
    pub access_token: String,
}

/// Checks the length of a new password.
pub fn password_length(password: &SecretString, _: &()) -> garde::Result {
    if password_rules::has_valid_length(password.expose_secret()) {
        Ok(())
    } else {
        Err(garde::Error::new("must be 8 to 128 characters long"))
    }
}

/// Checks that a new password is not one of those that anybody would try first.
///
/// # Errors
/// `weak_password` with the reason.
pub fn not_weak<'a>(password: &SecretString, names: impl IntoIterator<Item = &'a str>) -> Result<(), ApiError> {
    password_rules::check(password.expose_secret(), names).map_err(|weak| {
        let problem = FieldProblem { field: "password".to_owned(), problem: weak.to_string() };
        ApiError::new(Code::WeakPassword, format!("the password {weak}; choose another"))
            .with(Details::Fields(vec![problem]))
    })
}

/// Names that people would take for those of the operator or of the service.
const RESERVED_USERNAMES: [&str; 24] = [
    "abuse",
    "admin",
    "administrator",
    "anonymous",
    "api",
    "backend",
    "daemon",
    "dockhost",
    "help",
    "hostmaster",
    "info",
    "moderator",
    "nobody",
    "operator",
    "owner",
    "postmaster",
    "root",
    "security",
    "server",
    "staff",
    "support",
    "system",
    "sysadmin",
    "webmaster",
];

/// Checks that a new username is not reserved.
pub fn not_reserved(username: &Username, _: &()) -> garde::Result {
    if RESERVED_USERNAMES.contains(&username.as_str()) { Err(garde::Error::new("is reserved")) } else { Ok(()) }
}

/// An attempt to sign in: refused while those before it, with the same name from the same address, failed too often.
pub struct SignInAttempt<'a> {
    app: &'a App,
    client: ClientAddress,
    attempt: Attempt,
}

impl<'a> SignInAttempt<'a> {
    /// Begins an attempt.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn begin(app: &'a App, kind: ClaimKind, name: &str, client: ClientAddress) -> Result<Self, ApiError> {
        let name = AggregateId::Claim(app.keyring.claim(kind, name)).to_string();
        let attempt = Attempt(app.keyring.keyed_hash(["sign-in", &name, &client.to_string()]));
        match app.limits.delay(&attempt) {
            Some(wait) => {
                let message = "too many sign-ins with this name failed; wait as long as Retry-After says";
                Err(ApiError::new(Code::RateLimited, message).retry_after(wait))
            }
            None => Ok(Self { app, client, attempt }),
        }
    }

    /// It failed; `principal` if the name exists. The answer is the same whether it does or not.
    pub fn failed(self, principal: Option<PrincipalId>) -> ApiError {
        let failures = self.app.limits.failed(self.attempt);
        self.app.refusals.count(RefusalSource::Network(self.client.network()), RefusalKind::SignIn);
        let principal = principal.map_or_else(|| "unknown".to_owned(), |principal| principal.to_string());
        tracing::warn!(target: areas::AUTH, client = %self.client, principal, failures, "sign-in failed");
        invalid_credentials()
    }

    /// It succeeded.
    pub fn succeeded(self) {
        self.app.limits.succeeded(self.attempt);
    }
}

/// A session that is not stored yet.
pub struct NewSession {
    /// The event to store.
    pub started: Started,
    /// When it starts.
    pub now: Timestamp,
    principal: PrincipalId,
}

impl NewSession {
    /// The session of a user who signs in at `client` now, and asks for a refresh token in this way, if at all.
    pub fn of_user(app: &App, user_id: UserId, client: SessionClient, refresh: Option<RefreshBy>) -> Self {
        let mut session = Self::new(app, user_id.into());
        session.started.client = Some(client);
        if refresh.is_some() {
            let until = session.now.after(MAX_AGE);
            session.started.expires_at = idle_end(session.now, until);
            session.started.refresh_until = Some(until);
        }
        session
    }

    /// The session of a backend that signs in now.
    pub fn of_backend(app: &App, backend_id: BackendId) -> Self {
        Self::new(app, backend_id.into())
    }

    /// A session that starts now, whose token is valid as long as the session.
    fn new(app: &App, principal: PrincipalId) -> Self {
        let now = clock::now();
        let session_id = SessionId::from_uuid(clock::fresh_uuid());
        let expires_at = now.after(app.settings.session_lifetime);
        let started = Started { session_id, expires_at, token: None, client: None, refresh_until: None };
        Self { started, now, principal }
    }

    /// The principal and the session.
    pub const fn bearer(&self) -> Bearer {
        Bearer { principal: self.principal, session: self.started.session_id }
    }

    /// A token that is valid as long as the session.
    ///
    /// # Errors
    /// If the token can't be signed.
    pub fn token(&self, tokens: &Tokens) -> Result<String, ApiError> {
        let token = tokens.issue(self.bearer(), self.now, self.started.expires_at);
        token.map_err(|error| ApiError::internal(&error))
    }

    /// Stores the session; returns its sequence.
    ///
    /// # Errors
    /// Those of the log; `invalid_credentials` if the principal has been erased meanwhile, `account_disabled` if they have been
    /// disabled.
    pub async fn store(&self, app: &App, origin: Origin) -> Result<u64, ApiError> {
        let start = StartSession(self.started.clone());
        let done = app.executor.execute(self.principal, origin, start).await;
        Ok(done.map_err(|error| from_execute(error, rejected))?.current.sequence)
    }
}

fn rejected(rejection: StartRejected) -> ApiError {
    match rejection {
        // The same answer as for an unknown name.
        StartRejected::Closed => invalid_credentials(),
        StartRejected::Suspended => account_disabled(None),
        StartRejected::Exists => impossible(rejection),
    }
}

/// The owner of a name, confirmed by the log.
///
/// # Errors
/// Those of the log.
pub async fn claim_owner(app: &App, claim: ClaimId) -> Result<Option<PrincipalId>, ApiError> {
    Ok(app.executor.confirmed::<Claim>(claim).await?.state.owner)
}

/// The same answer for an unknown name and a wrong password.
pub fn invalid_credentials() -> ApiError {
    ApiError::new(Code::InvalidCredentials, "invalid username or password")
}

/// The answer to the right password of a disabled account, with what the administrator tells its user.
pub fn account_disabled(disabled: Option<&DisabledSince>) -> ApiError {
    let reason = disabled.and_then(|disabled| disabled.details.reason.as_ref()?.plain());
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    ApiError::new(Code::AccountDisabled, format!("an administrator disabled this account{reason}"))
}

/// The answer's data for a backend.
///
/// # Errors
/// If the key can't be signed.
pub fn signed_in_backend(
    app: &App,
    id: BackendId,
    machine: &Machine,
    access_token: String,
) -> Result<SignedInBackend, ApiError> {
    let key = ApiKeyId { backend_id: id, version: machine.key_version() };
    let api_key = app.api_keys.derive(key, machine.enrolled_at).map_err(|error| ApiError::internal(&error))?;
    Ok(SignedInBackend { backend: Backend::new(id, machine, &app.heartbeats), api_key, access_token })
}
