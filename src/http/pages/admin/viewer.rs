//! The administrator who looks at a page.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use dockhost_dashboard::pages::Frame;

use super::super::account::account;
use super::super::caller::Viewer;
use super::super::error::PageError;
use super::super::page::frame_of;
use crate::http::app::App;
use crate::http::extract::{CurrentAdmin, CurrentUser};
use crate::http::response::ApiError;

/// The administrator who looks at a page. Somebody without a session is sent to the sign-in and back.
#[derive(Debug, Clone, Copy)]
pub struct AdminViewer {
    user: CurrentUser,
    /// As the API's handlers take them.
    pub admin: CurrentAdmin,
}

impl FromRequestParts<Arc<App>> for AdminViewer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let Viewer(user) = Viewer::from_request_parts(parts, app).await?;
        let admin = CurrentAdmin::from_request_parts(parts, app).await;
        admin.map(|admin| Self { user, admin }).map_err(|error| PageError::from(error).into_response())
    }
}

impl AdminViewer {
    /// The frame of their pages.
    ///
    /// # Errors
    /// Those of `GET /api/v2/user/me`.
    pub async fn frame(self, app: &Arc<App>) -> Result<Frame, ApiError> {
        Ok(frame_of(app, &account(app, self.user).await?))
    }
}
