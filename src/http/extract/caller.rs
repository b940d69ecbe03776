//! The caller: an endpoint with one of these extractors in its signature answers 401 to everyone else.
//!
//! In: the token, as `Authorization: Bearer` or as a cookie. Out: the principal whose session it belongs to, if the
//! session is live. The 401 is the same for all reasons.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum_extra::extract::CookieJar;
use dockhost_domain::ids::{BackendId, PrincipalId, SessionId, UserId};
use dockhost_domain::session::Sessions;

use super::origin;
use crate::auth::token::{Bearer, Tokens};
use crate::common::clock;
use crate::event_log::Freshness;
use crate::http::app::{App, Cookies};
use crate::http::response::{ApiError, Code};

/// The cookie of a user's session.
pub const USER_COOKIE: &str = "accessToken";
/// The cookie of a backend's session.
pub const BACKEND_COOKIE: &str = "accessTokenBE";

/// Within this time after a sign-out, every replica refuses commands with the session's token.
pub(super) const MAX_SESSION_AGE: Duration = Duration::from_secs(1);

/// The user who calls.
#[derive(Debug, Clone, Copy)]
pub struct CurrentUser {
    /// The account.
    pub user_id: UserId,
    /// The session of the token.
    pub session_id: SessionId,
}

/// The backend that calls; not one whose key is revoked.
#[derive(Debug, Clone, Copy)]
pub struct CurrentBackend {
    /// The backend.
    pub backend_id: BackendId,
}

/// A request's token, and where it was.
enum Credential {
    Bearer(String),
    Cookie(String),
}

/// The token of a request. A bearer token wins over the cookie; other schemes are for a proxy in front of the server.
fn credential(headers: &HeaderMap, cookie: &str, cookies: Cookies) -> Option<Credential> {
    if let Some(token) = headers.get_all(header::AUTHORIZATION).iter().find_map(bearer) {
        return Some(Credential::Bearer(token));
    }
    let jar = CookieJar::from_headers(headers);
    let token = cookies.names(cookie).iter().find_map(|name| Some(jar.get(name)?.value().to_owned()));
    token.map(Credential::Cookie)
}

/// The token of an `Authorization` header with the scheme `Bearer`.
fn bearer(value: &HeaderValue) -> Option<String> {
    let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// Whose token a request carries, if it is a genuine one. Whether its session has ended is not checked.
pub fn principal(app: &App, headers: &HeaderMap) -> Option<PrincipalId> {
    [(USER_COOKIE, &app.user_tokens), (BACKEND_COOKIE, &app.backend_tokens)].into_iter().find_map(|(cookie, tokens)| {
        let (Credential::Bearer(token) | Credential::Cookie(token)) =
            credential(headers, cookie, app.settings.cookies)?;
        tokens.read(&token, clock::now()).ok().map(|bearer| bearer.principal)
    })
}

/// Whether a request changes nothing.
pub(super) fn is_read(parts: &Parts) -> bool {
    matches!(parts.method, Method::GET | Method::HEAD)
}

async fn authenticate(app: &App, parts: &Parts, cookie: &str, tokens: &Tokens) -> Result<Bearer, ApiError> {
    let unauthorized = || ApiError::new(Code::Unauthorized, "sign in first");
    let credential = credential(&parts.headers, cookie, app.settings.cookies).ok_or_else(unauthorized)?;
    let is_read = is_read(parts);
    let token = match credential {
        Credential::Bearer(token) => token,
        Credential::Cookie(token) => {
            // Browsers add the cookie to requests that other pages make.
            if !is_read && !origin::is_own(&parts.uri, &parts.headers, app.settings.frontend.as_deref()) {
                let message = "a page of another origin sent this with your cookie; see FRONTEND_URL";
                return Err(ApiError::new(Code::ForeignOrigin, message));
            }
            token
        }
    };
    let bearer = tokens.read(&token, clock::now()).map_err(|_| unauthorized())?;
    if is_live(app, bearer, is_read).await? { Ok(bearer) } else { Err(unauthorized()) }
}

/// Whether the session is live. A read uses this replica's state as it is, if the replica has heard the log lately enough; a
/// command, one that is at most a second old. A negative answer is always confirmed by the log: another replica may have started the session a moment ago.
async fn is_live(app: &App, bearer: Bearer, is_read: bool) -> Result<bool, ApiError> {
    let now = clock::now();
    if is_read && (app.log_silence)() > app.settings.reads_without_broker {
        let message = "this server has not heard the event log for so long that you may have been signed out elsewhere";
        return Err(ApiError::new(Code::BrokerUnavailable, message));
    }
    let known = if is_read {
        app.executor.state::<Sessions>(bearer.principal).await?
    } else {
        app.executor.current::<Sessions>(bearer.principal, Freshness::Within(MAX_SESSION_AGE)).await?
    };
    if known.state.is_live(bearer.session, now) {
        return Ok(true);
    }
    let confirmed = app.executor.confirmed::<Sessions>(bearer.principal).await?;
    Ok(confirmed.state.is_live(bearer.session, now))
}

impl FromRequestParts<Arc<App>> for CurrentUser {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let Bearer { principal, session } = authenticate(app, parts, USER_COOKIE, &app.user_tokens).await?;
        Ok(Self { user_id: UserId::from_uuid(principal.uuid()), session_id: session })
    }
}

impl FromRequestParts<Arc<App>> for CurrentBackend {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let Bearer { principal, .. } = authenticate(app, parts, BACKEND_COOKIE, &app.backend_tokens).await?;
        let backend_id = BackendId::from_uuid(principal.uuid());
        if app.follower.fleet().machine(backend_id).is_some_and(|machine| machine.is_key_revoked) {
            return Err(ApiError::new(Code::Unauthorized, "the key of this backend is revoked"));
        }
        Ok(Self { backend_id })
    }
}
