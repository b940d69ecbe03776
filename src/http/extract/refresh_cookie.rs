//! The refresh token in a request's cookie.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum_extra::extract::CookieJar;

use super::caller::foreign_origin;
use super::origin;
use crate::http::app::App;
use crate::http::response::ApiError;

/// The refresh token in the cookie of a browser, if there is one. A page of another origin can't use it.
pub struct RefreshCookie(pub Option<String>);

impl FromRequestParts<Arc<App>> for RefreshCookie {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let Some(name) = app.settings.cookies.refresh_name() else { return Ok(Self(None)) };
        let token = CookieJar::from_headers(&parts.headers).get(name).map(|cookie| cookie.value().to_owned());
        if token.is_some() && !origin::is_own(&parts.uri, &parts.headers, &app.settings.frontends) {
            return Err(foreign_origin());
        }
        Ok(Self(token))
    }
}
