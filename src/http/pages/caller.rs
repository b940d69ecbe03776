//! Who looks at a page. The session is that of the API; somebody without one is sent to the sign-in and back.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};

use super::error::PageError;
use crate::http::app::App;
use crate::http::extract::CurrentUser;
use crate::http::response::Code;

/// The page after signing in, if no other was asked for.
pub const START: &str = "/console";
/// The first page of administrators.
const ADMIN: &str = "/admin";

const HX_REQUEST: HeaderName = HeaderName::from_static("hx-request");
/// htmx goes to this page instead of showing the answer.
const HX_REDIRECT: HeaderName = HeaderName::from_static("hx-redirect");

/// The user who looks at a page.
pub struct Viewer(pub CurrentUser);

impl FromRequestParts<Arc<App>> for Viewer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let error = match CurrentUser::from_request_parts(parts, app).await {
            Ok(user) => return Ok(Self(user)),
            Err(error) => error,
        };
        if error.code() != Code::Unauthorized {
            return Err(PageError::from(error).into_response());
        }
        if parts.headers.contains_key(HX_REQUEST) {
            return Err((StatusCode::UNAUTHORIZED, [(HX_REDIRECT, "/console/signin")]).into_response());
        }
        Err(Redirect::to(&format!("/console/signin?next={}", parts.uri.path())).into_response())
    }
}

/// Where to go after signing in: only to a page of the console or of administrators, whatever the address of the page says.
pub fn safe_next(next: Option<String>) -> String {
    let is_below =
        |next: &str, root| next.strip_prefix(root).is_some_and(|rest: &str| rest.is_empty() || rest.starts_with('/'));
    let is_safe = |next: &String| {
        let is_known = [START, ADMIN].into_iter().any(|root| is_below(next, root));
        is_known && next.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '-'))
    };
    next.filter(is_safe).unwrap_or_else(|| START.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safe_next_stays_in_the_pages() {
        let id = "/console/instances/0190b2c4-5a51-7c3e-9d1e-000000000001";
        for kept in ["/console", "/console/keys", id, "/admin", "/admin/people"] {
            assert_eq!(safe_next(Some(kept.to_owned())), kept);
        }
        for refused in [
            "",
            "/",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example/console",
            "/consoles",
            "/administration",
            "/console/../api",
            "/console@evil.example",
            "javascript:alert(1)",
            "/console/\n",
        ] {
            assert_eq!(safe_next(Some(refused.to_owned())), START, "{refused:?}");
        }
        assert_eq!(safe_next(None), START);
    }
}
