//! The tokens of a user's session, as answers have them: one that is valid as long as the session, or, if the client asked for
//! it, a short one with a refresh token.

use axum_extra::extract::cookie::Cookie;
use dockhost_domain::session::Sessions;
use dockhost_domain::timestamp::Timestamp;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::sessions::NewSession;
use crate::auth::token::{Bearer, SHORT_TOKEN_LIFETIME};
use crate::http::app::{App, Cookies};
use crate::http::extract::USER_COOKIE;
use crate::http::response::ApiError;

/// How a client gets and sends refresh tokens.
///
/// - `cookie`: for browsers. The cookie `refreshToken` is sent to `POST /api/v2/user/refresh` only, and no script can read it.
/// - `body`: for programs that send the access token as `Authorization: Bearer …`. The answer has `refreshToken` and sets no cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RefreshBy {
    Cookie,
    Body,
}

impl RefreshBy {
    /// Checks that the server can give refresh tokens in this way.
    ///
    /// # Errors
    /// `validation_failed`.
    pub fn check(by: Option<Self>, app: &App) -> Result<(), ApiError> {
        if by == Some(Self::Cookie) && app.settings.cookies == Cookies::Off {
            return Err(ApiError::invalid_field("refresh", "must be body: this server sets no cookies"));
        }
        Ok(())
    }
}

/// The tokens of a session.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionTokens {
    /// Send it as `Authorization: Bearer …`; it is also set as the cookie `accessToken`, unless a refresh token was asked for in
    /// the body.
    access_token: String,
    /// The seconds for which the access token is valid, if there is a refresh token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expires_in: Option<u64>,
    /// The token for `POST /api/v2/user/refresh`, if it was asked for in the body. It is valid once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    refresh_token: Option<String>,
}

/// Tokens, and the cookies that keep them.
pub type WithCookies = (SessionTokens, Vec<Cookie<'static>>);

impl SessionTokens {
    /// The tokens of a new session. `refresh` is how its client asked for a refresh token, if it did.
    ///
    /// # Errors
    /// If a token can't be signed.
    pub fn of_new(app: &App, session: &NewSession, refresh: Option<RefreshBy>) -> Result<WithCookies, ApiError> {
        let started = &session.started;
        if let (Some(by), Some(until)) = (refresh, started.refresh_until) {
            return Self::with_refresh_token(app, session.bearer(), by, (0, until), started.expires_at, session.now);
        }
        let access_token = session.token(app.user_tokens.sign_ins())?;
        let cookie = app.session_cookie(USER_COOKIE, access_token.clone(), app.settings.session_lifetime);
        Ok((Self { access_token, expires_in: None, refresh_token: None }, cookie.into_iter().collect()))
    }

    /// The tokens of a session that is live in this state and has a refresh token; none if it is not or has none.
    ///
    /// # Errors
    /// If a token can't be signed.
    pub fn of_refreshed(
        app: &App,
        bearer: Bearer,
        by: RefreshBy,
        state: &Sessions,
        now: Timestamp,
    ) -> Result<Option<WithCookies>, ApiError> {
        let session = bearer.session;
        let (Some(valid), Some(expires_at)) = (state.refresh_token(session), state.expires_at(session)) else {
            return Ok(None);
        };
        Self::with_refresh_token(app, bearer, by, (valid.number, valid.until), expires_at, now).map(Some)
    }

    fn with_refresh_token(
        app: &App,
        bearer: Bearer,
        by: RefreshBy,
        (number, until): (u32, Timestamp),
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<WithCookies, ApiError> {
        let failed = |error| ApiError::internal(&error);
        let access_until = now.after(SHORT_TOKEN_LIFETIME).min(until);
        let access_token = app.user_tokens.sign_ins().issue(bearer, now, access_until).map_err(failed)?;
        let refresh_token = app.user_tokens.issue_refresh_token(bearer, number, until).map_err(failed)?;
        let refresh_token = refresh_token.expose_secret().to_owned();
        let lifetime = access_until.since(now);
        let (refresh_token, cookies) = match by {
            RefreshBy::Body => (Some(refresh_token), Vec::new()),
            RefreshBy::Cookie => {
                let access = app.session_cookie(USER_COOKIE, access_token.clone(), lifetime);
                let refresh = app.refresh_cookie(refresh_token, expires_at.since(now));
                (None, access.into_iter().chain(refresh).collect())
            }
        };
        Ok((Self { access_token, expires_in: Some(lifetime.as_secs()), refresh_token }, cookies))
    }
}
