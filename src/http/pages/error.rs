//! A page that can't be shown: the API's error in words.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dockhost_dashboard::pages::{ErrorPage, Frame};

use super::page::Page;
use crate::http::middleware::request_id;
use crate::http::response::ApiError;

/// An error of the API that makes a page impossible.
#[derive(Debug)]
pub struct PageError(ApiError);

impl From<ApiError> for PageError {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

/// The error's message as a sentence for people.
pub fn sentence(error: &ApiError) -> String {
    let mut letters = error.message().chars();
    let message: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    format!("{message}.")
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let status = error.code().status();
        let title = match status {
            StatusCode::NOT_FOUND => "There is nothing here",
            StatusCode::SERVICE_UNAVAILABLE => "This can't be shown now",
            _ => "This can't be shown",
        };
        let page = ErrorPage {
            frame: Frame { user: None, version: env!("CARGO_PKG_VERSION"), has_docs: false },
            title: title.to_owned(),
            message: sentence(&error),
            request_id: request_id::current(),
        };
        Page::with_status(status, page).into_response()
    }
}
