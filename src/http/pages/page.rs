//! A page as an answer: HTML that may load nothing but this server's files.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use dockhost_dashboard::Template;
use dockhost_dashboard::account::Account;
use dockhost_dashboard::pages::{Frame, User};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::sentence;
use crate::http::app::App;
use crate::http::response::ApiError;

/// The style sheet has a few icons within it, as `data:` images.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; \
                                           form-action 'self'; frame-ancestors 'none'";

/// A page, or a part of one.
pub struct Page<T> {
    status: StatusCode,
    template: T,
}

impl<T> Page<T> {
    /// A page that shows what was asked for.
    pub const fn ok(template: T) -> Self {
        Self { status: StatusCode::OK, template }
    }

    /// A page with another status.
    pub const fn with_status(status: StatusCode, template: T) -> Self {
        Self { status, template }
    }
}

impl<T: Template> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        let html = match self.template.render() {
            Ok(html) => html,
            Err(error) => return ApiError::internal(&error).into_response(),
        };
        let policy = HeaderValue::from_static(CONTENT_SECURITY_POLICY);
        let referrer = HeaderValue::from_static("same-origin");
        let headers = [(header::CONTENT_SECURITY_POLICY, policy), (header::REFERRER_POLICY, referrer)];
        (self.status, headers, Html(html)).into_response()
    }
}

/// What stands in the place of a part, with the status of its answer: what was found, or the error in words.
pub fn in_place<T>(found: Result<T, ApiError>) -> (StatusCode, Result<T, String>) {
    let status = found.as_ref().map_or_else(|error| error.code().status(), |_| StatusCode::OK);
    (status, found.map_err(|error| sentence(&error)))
}

/// The frame of pages that anybody may see.
pub fn frame(app: &App) -> Frame {
    Frame { user: None, version: env!("CARGO_PKG_VERSION"), has_docs: app.settings.api_docs }
}

/// The frame of the pages of this user.
pub fn frame_of(app: &App, account: &Account) -> Frame {
    let user = User { name: account.username.clone().unwrap_or_default(), is_admin: account.role == "admin" };
    Frame { user: Some(user), ..frame(app) }
}

/// What the API answers, as the pages read it. They read what any other client of the API gets.
///
/// # Errors
/// `internal` if the pages and the API don't agree.
pub fn read<T: DeserializeOwned>(data: impl Serialize) -> Result<T, ApiError> {
    let value = serde_json::to_value(data).map_err(|error| ApiError::internal(&error))?;
    serde_json::from_value(value).map_err(|error| ApiError::internal(&error))
}
