//! Authentication: who calls, and whether their session is live.
//!
//! In: the token, as `Authorization: Bearer` or as a cookie. Out: the principal as a request extension, or 401 with one
//! answer for all reasons.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum_extra::extract::CookieJar;
use dockhost_domain::ids::{BackendId, PrincipalId, SessionId, UserId};
use dockhost_domain::session::Sessions;

use crate::auth::token::{Bearer, Tokens};
use crate::common::clock;
use crate::http::app::App;
use crate::http::response::{ApiError, Code};

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everyone.
    Open,
    /// Signed-in users.
    User,
    /// Signed-in backends.
    Backend,
}

/// The cookie of a user's session.
pub const USER_COOKIE: &str = "accessToken";
/// The cookie of a backend's session.
pub const BACKEND_COOKIE: &str = "accessTokenBE";

/// The user who calls.
#[derive(Debug, Clone, Copy)]
pub struct CurrentUser {
    /// The account.
    pub user_id: UserId,
    /// The session of the token.
    pub session_id: SessionId,
}

/// The backend that calls.
#[derive(Debug, Clone, Copy)]
pub struct CurrentBackend {
    /// The backend.
    pub backend_id: BackendId,
}

/// The token of a request. The header wins over the cookie.
fn token(headers: &HeaderMap, cookie: &str) -> Option<String> {
    match headers.get(header::AUTHORIZATION) {
        Some(value) => {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
        }
        None => CookieJar::from_headers(headers).get(cookie).map(|cookie| cookie.value().to_owned()),
    }
}

async fn authenticate(app: &App, token: Option<String>, tokens: &Tokens, is_read: bool) -> Result<Bearer, ApiError> {
    let unauthorized = || ApiError::new(Code::Unauthorized, "sign in first");
    let bearer = tokens.read(&token.ok_or_else(unauthorized)?).map_err(|_| unauthorized())?;
    if is_live(app, bearer, is_read).await? { Ok(bearer) } else { Err(unauthorized()) }
}

fn is_read(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// Whether the session is live. While the follower receives the log, its cached state is enough. While it does not, a
/// read still uses the cache (nothing can be revoked without the log), but a command asks the log. A negative answer
/// is always confirmed by the log: another replica may have started the session a moment ago.
async fn is_live(app: &App, bearer: Bearer, is_read: bool) -> Result<bool, ApiError> {
    let now = clock::now();
    if app.follower.is_live() || is_read {
        let cached = app.executor.state::<Sessions>(bearer.principal).await?;
        if cached.state.is_live(bearer.session, now) {
            return Ok(true);
        }
    }
    let confirmed = app.executor.confirmed::<Sessions>(bearer.principal).await?;
    Ok(confirmed.state.is_live(bearer.session, now))
}

/// Lets signed-in users through.
pub async fn users(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let token = token(request.headers(), USER_COOKIE);
    let is_read = is_read(&request);
    match authenticate(&app, token, &app.user_tokens, is_read).await {
        Ok(Bearer { principal, session: session_id }) => {
            let user_id = UserId::from_uuid(PrincipalId::uuid(principal));
            request.extensions_mut().insert(CurrentUser { user_id, session_id });
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

/// Lets signed-in backends through.
pub async fn backends(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let token = token(request.headers(), BACKEND_COOKIE);
    let is_read = is_read(&request);
    match authenticate(&app, token, &app.backend_tokens, is_read).await {
        Ok(Bearer { principal, .. }) => {
            let backend_id = BackendId::from_uuid(PrincipalId::uuid(principal));
            request.extensions_mut().insert(CurrentBackend { backend_id });
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}
