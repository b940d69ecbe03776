//! Who may call a route. Each route says so where it is declared; there is no way to declare one without.
//!
//! In: the token of a request, as `Authorization: Bearer` or as a cookie. Out: the principal, as a request extension,
//! if the token is good and its session still counts; else 401, the same for every reason.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum_extra::extract::CookieJar;
use dockhost_domain::ids::{BackendId, PrincipalId, SessionId, UserId};
use dockhost_domain::session::Sessions;

use super::app::App;
use super::error::{ApiError, Code};
use crate::auth::token::{Bearer, Tokens};
use crate::common::clock;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
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
pub struct CallingUser {
    /// Who.
    pub user_id: UserId,
    /// By which session.
    pub session_id: SessionId,
}

/// The backend that calls.
#[derive(Debug, Clone, Copy)]
pub struct CallingBackend {
    /// Which.
    pub backend_id: BackendId,
}

/// The header counts before the cookie: a program that sends one means it.
fn token(headers: &HeaderMap, cookie: &str) -> Option<String> {
    match headers.get(header::AUTHORIZATION) {
        Some(value) => {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
        }
        None => CookieJar::from_headers(headers).get(cookie).map(|cookie| cookie.value().to_owned()),
    }
}

async fn bearer(app: &App, token: Option<String>, tokens: &Tokens, reads: bool) -> Result<Bearer, ApiError> {
    let refused = || ApiError::new(Code::Unauthorized, "sign in first");
    let bearer = tokens.read(&token.ok_or_else(refused)?).map_err(|_| refused())?;
    if is_live(app, bearer, reads).await? { Ok(bearer) } else { Err(refused()) }
}

fn reads(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// Whether the session still counts. What this replica knows is enough while it hears the log; while it doesn't, a
/// read still is (nothing can be revoked while the log is away), a command asks the log. A "no" is always confirmed:
/// the session may have begun a moment ago on another replica.
async fn is_live(app: &App, bearer: Bearer, reads: bool) -> Result<bool, ApiError> {
    let now = clock::now();
    if app.follower.is_live() || reads {
        let known = app.executor.state::<Sessions>(bearer.principal).await?;
        if known.state.is_live(bearer.session, now) {
            return Ok(true);
        }
    }
    let confirmed = app.executor.confirmed::<Sessions>(bearer.principal).await?;
    Ok(confirmed.state.is_live(bearer.session, now))
}

/// Lets signed-in users through.
pub async fn users(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let token = token(request.headers(), USER_COOKIE);
    let reads = reads(&request);
    match bearer(&app, token, &app.user_tokens, reads).await {
        Ok(Bearer { principal, session: session_id }) => {
            let user_id = UserId::from_uuid(PrincipalId::uuid(principal));
            request.extensions_mut().insert(CallingUser { user_id, session_id });
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

/// Lets signed-in backends through.
pub async fn backends(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let token = token(request.headers(), BACKEND_COOKIE);
    let reads = reads(&request);
    match bearer(&app, token, &app.backend_tokens, reads).await {
        Ok(Bearer { principal, .. }) => {
            let backend_id = BackendId::from_uuid(PrincipalId::uuid(principal));
            request.extensions_mut().insert(CallingBackend { backend_id });
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}
