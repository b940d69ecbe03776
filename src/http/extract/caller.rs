//! The caller: an endpoint with one of these extractors in its signature answers 401 to everyone else.
//!
//! In: the token, as `Authorization: Bearer` or as a cookie. Out: the principal whose session it belongs to, if the
//! session is live. The 401 is the same for all reasons. A user's API token whose scope does not include the request gets
//! 403: the extractor says what an endpoint needs.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum_extra::extract::CookieJar;
use dockhost_domain::backend::{Backend, KeyValidity};
use dockhost_domain::ids::{BackendId, PrincipalId, SessionId, UserId};
use dockhost_domain::session::{Access, Scope, Sessions};
use dockhost_domain::timestamp::Timestamp;

use super::origin;
use crate::auth::api_key::ApiKeyId;
use crate::auth::token::{Bearer, InvalidToken};
use crate::common::clock;
use crate::event_log::Freshness;
use crate::execute::{CachedAggregate, CachedState};
use crate::http::app::{App, Cookies};
use crate::http::response::{ApiError, Code};

/// The cookie of a user's session.
pub const USER_COOKIE: &str = "accessToken";
/// The cookie of a backend's session.
pub const BACKEND_COOKIE: &str = "accessTokenBE";

/// Within this time after a sign-out, every replica refuses commands with the session's token.
pub(super) const MAX_SESSION_AGE: Duration = Duration::from_secs(1);

/// The user who calls: with any API token for a query, with one of scope `all` for a command.
#[derive(Debug, Clone, Copy)]
pub struct CurrentUser {
    /// The account.
    pub user_id: UserId,
    /// The session of the token.
    pub session_id: SessionId,
}

/// The user who calls a command on instances, for which an API token needs the scope `instances`.
#[derive(Debug, Clone, Copy)]
pub struct InstanceUser {
    /// The account.
    pub user_id: UserId,
}

/// The session of a user who calls, which is a sign-in or an API token of any scope.
#[derive(Debug, Clone, Copy)]
pub struct CurrentSession {
    /// The account.
    pub user_id: UserId,
    /// The session of the token.
    pub session_id: SessionId,
}

/// The user who calls and has signed in: no API token will do.
#[derive(Debug, Clone, Copy)]
pub struct SignedInUser {
    /// The account.
    pub user_id: UserId,
    /// The session of the token.
    pub session_id: SessionId,
}

/// The backend that calls, with the token of a sign-in or with its agent's API key; not one whose key is revoked.
#[derive(Debug, Clone, Copy)]
pub struct CurrentBackend {
    /// The backend.
    pub backend_id: BackendId,
    /// What it called with.
    pub credential: BackendCredential,
}

/// What a backend calls with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendCredential {
    /// The token of a sign-in, which is that of this session.
    Session(SessionId),
    /// The API key of its agent.
    ApiKey {
        /// The key's version.
        version: u32,
    },
}

/// A request's token, and where it was.
enum Credential {
    Bearer(String),
    Cookie(String),
}

/// The token of a request. A bearer token wins over the cookie; other schemes are for a proxy in front of the server.
fn credential(headers: &HeaderMap, cookie: &str, cookies: Cookies) -> Option<Credential> {
    if let Some(token) = bearer_of(headers) {
        return Some(Credential::Bearer(token));
    }
    let jar = CookieJar::from_headers(headers);
    let token = cookies.names(cookie).iter().find_map(|name| Some(jar.get(name)?.value().to_owned()));
    token.map(Credential::Cookie)
}

/// The bearer token of a request.
pub fn bearer_of(headers: &HeaderMap) -> Option<String> {
    headers.get_all(header::AUTHORIZATION).iter().find_map(bearer)
}

/// The token of an `Authorization` header with the scheme `Bearer`.
fn bearer(value: &HeaderValue) -> Option<String> {
    let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// The answer to a command that a page of another origin sends with a cookie.
pub(super) fn foreign_origin() -> ApiError {
    let message = "a page of another origin sent this with your cookie; see FRONTEND_URL";
    ApiError::new(Code::ForeignOrigin, message)
}

/// Whose token a request carries, if it is a genuine one. Whether its session has ended is not checked.
pub fn principal(app: &App, headers: &HeaderMap) -> Option<PrincipalId> {
    let now = clock::now();
    let text = |cookie| {
        let (Credential::Bearer(token) | Credential::Cookie(token)) =
            credential(headers, cookie, app.settings.cookies)?;
        Some(token)
    };
    let user = || app.user_tokens.read(&text(USER_COOKIE)?, now).ok();
    let backend = || app.backend_tokens.read(&text(BACKEND_COOKIE)?, now).ok();
    let of_session = user().or_else(backend).map(|bearer| bearer.principal);
    of_session.or_else(|| api_key(app, headers).map(|key| key.backend_id.into()))
}

/// The API key that a request has as its bearer token, if it is a genuine one. Whether it is revoked is not checked.
fn api_key(app: &App, headers: &HeaderMap) -> Option<ApiKeyId> {
    app.api_keys.read(&bearer_of(headers)?).ok()
}

/// Whether a request changes nothing.
pub(super) fn is_read(parts: &Parts) -> bool {
    matches!(parts.method, Method::GET | Method::HEAD)
}

/// Whose a request's token is, and what its session may be used for.
async fn authenticate(
    app: &App,
    parts: &Parts,
    cookie: &str,
    read: impl FnOnce(&str) -> Result<Bearer, InvalidToken>,
) -> Result<(Bearer, Access), ApiError> {
    let unauthorized = || ApiError::new(Code::Unauthorized, "sign in first");
    let credential = credential(&parts.headers, cookie, app.settings.cookies).ok_or_else(unauthorized)?;
    let is_read = is_read(parts);
    let token = match credential {
        Credential::Bearer(token) => token,
        Credential::Cookie(token) => {
            // Browsers add the cookie to requests that other pages make.
            if !is_read && !origin::is_own(&parts.uri, &parts.headers, &app.settings.frontends) {
                return Err(foreign_origin());
            }
            token
        }
    };
    let bearer = read(&token).map_err(|_| unauthorized())?;
    let access = access(app, bearer, is_read).await?.ok_or_else(unauthorized)?;
    Ok((bearer, access))
}

/// What the session may be used for; none if it is not live. A read uses this replica's state as it is, if the replica has
/// heard the log lately enough; a command, one that is at most a second old. A negative answer is always confirmed by the
/// log: another replica may have started the session a moment ago.
async fn access(app: &App, bearer: Bearer, is_read: bool) -> Result<Option<Access>, ApiError> {
    let now = clock::now();
    let known = recent::<Sessions>(app, bearer.principal, is_read).await?;
    let access = known.state.access(bearer.session, now);
    if access.is_some() {
        return Ok(access);
    }
    let confirmed = app.executor.confirmed::<Sessions>(bearer.principal).await?;
    Ok(confirmed.state.access(bearer.session, now))
}

/// A state that says whether a caller may still call, as fresh as [`access`] says.
async fn recent<A: CachedAggregate>(app: &App, id: A::Id, is_read: bool) -> Result<CachedState<A>, ApiError> {
    if !is_read {
        return Ok(app.executor.current::<A>(id, Freshness::Within(MAX_SESSION_AGE)).await?);
    }
    if (app.log_silence)() > app.settings.reads_without_broker {
        let message = "this server has not heard the event log for so long that you may have been signed out elsewhere";
        return Err(ApiError::new(Code::BrokerUnavailable, message));
    }
    Ok(app.executor.state::<A>(id).await?)
}

/// For how long a backend may call with this API key of its own; none if it may not, as one that was removed.
pub fn api_key_validity(backend: &Backend, key: ApiKeyId, now: Timestamp) -> Option<KeyValidity> {
    backend.machine.as_ref()?;
    backend.key_validity(key.version, now)
}

/// Whether an API key is one of those that its backend may use now.
async fn is_valid(app: &App, key: ApiKeyId, is_read: bool) -> Result<bool, ApiError> {
    let is_valid = |backend: &Backend| api_key_validity(backend, key, clock::now()).is_some();
    // Another replica may have issued it a moment ago.
    Ok(is_valid(&recent::<Backend>(app, key.backend_id, is_read).await?.state)
        || is_valid(&app.executor.confirmed::<Backend>(key.backend_id).await?.state))
}

/// What a request needs of its caller.
#[derive(Debug, Clone, Copy)]
pub(super) enum Needs {
    /// A sign-in, or an API token with at least this scope.
    Scope(Scope),
    /// A sign-in.
    SignIn,
}

/// The user who calls and may do what the request needs.
///
/// # Errors
/// `unauthorized`, `foreign_origin`, `insufficient_scope`, those of the log.
pub(super) async fn user(app: &App, parts: &Parts, needs: Needs) -> Result<CurrentUser, ApiError> {
    let read = |token: &str| app.user_tokens.read(token, clock::now());
    let (Bearer { principal, session }, access) = authenticate(app, parts, USER_COOKIE, read).await?;
    let message = match (access, needs) {
        (Access::SignIn, _) => None,
        (Access::Token(scope), Needs::Scope(needed)) if scope >= needed => None,
        (Access::Token(scope), Needs::Scope(needed)) => {
            Some(format!("this needs an API token of scope `{needed}`; yours has `{scope}`"))
        }
        (Access::Token(_), Needs::SignIn) => Some("no API token may do this; sign in".to_owned()),
    };
    match message {
        Some(message) => Err(ApiError::new(Code::InsufficientScope, message)),
        None => Ok(CurrentUser { user_id: UserId::from_uuid(principal.uuid()), session_id: session }),
    }
}

impl FromRequestParts<Arc<App>> for CurrentUser {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let needed = if is_read(parts) { Scope::Read } else { Scope::All };
        user(app, parts, Needs::Scope(needed)).await
    }
}

impl FromRequestParts<Arc<App>> for InstanceUser {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let CurrentUser { user_id, .. } = user(app, parts, Needs::Scope(Scope::Instances)).await?;
        Ok(Self { user_id })
    }
}

impl FromRequestParts<Arc<App>> for CurrentSession {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let CurrentUser { user_id, session_id } = user(app, parts, Needs::Scope(Scope::Read)).await?;
        Ok(Self { user_id, session_id })
    }
}

impl FromRequestParts<Arc<App>> for SignedInUser {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let CurrentUser { user_id, session_id } = user(app, parts, Needs::SignIn).await?;
        Ok(Self { user_id, session_id })
    }
}

impl FromRequestParts<Arc<App>> for CurrentBackend {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        if let Some(key) = api_key(app, &parts.headers) {
            return if is_valid(app, key, is_read(parts)).await? {
                Ok(Self { backend_id: key.backend_id, credential: BackendCredential::ApiKey { version: key.version } })
            } else {
                Err(ApiError::new(Code::Unauthorized, "sign in first"))
            };
        }
        let read = |token: &str| app.backend_tokens.read(token, clock::now());
        let (Bearer { principal, session }, _) = authenticate(app, parts, BACKEND_COOKIE, read).await?;
        let backend_id = BackendId::from_uuid(principal.uuid());
        if app.follower.fleet().machine(backend_id).is_some_and(|machine| machine.is_key_revoked) {
            return Err(ApiError::new(Code::Unauthorized, "the key of this backend is revoked"));
        }
        Ok(Self { backend_id, credential: BackendCredential::Session(session) })
    }
}
