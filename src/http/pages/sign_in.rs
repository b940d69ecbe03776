//! `GET /console/signin`, `GET /console/signup` and `GET /console/reset`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use dockhost_dashboard::pages::{self, ResetPage, SignInPage, SignUpPage};
use serde::Deserialize;

use super::caller::{START, Viewer, safe_next};
use super::page::{Page, frame};
use crate::auth::admission::SignUp;
use crate::http::app::App;
use crate::http::extract::Query;

/// The page to go to afterwards.
#[derive(Deserialize)]
pub struct SignInParameters {
    next: Option<String>,
}

/// What the link of an invitation has.
#[derive(Deserialize)]
pub struct SignUpParameters {
    invitation: Option<String>,
}

/// The form, or the console for somebody who is signed in.
pub async fn sign_in(
    viewer: Result<Viewer, Response>,
    State(app): State<Arc<App>>,
    Query(SignInParameters { next }): Query<SignInParameters>,
) -> Response {
    if viewer.is_ok() {
        return Redirect::to(START).into_response();
    }
    let (next, sign_up) = (safe_next(next), who_may_sign_up(&app));
    Page::ok(SignInPage { frame: frame(&app), next, sign_up }).into_response()
}

/// The form; the server's settings say whether anybody may send it.
pub async fn sign_up(
    State(app): State<Arc<App>>,
    Query(SignUpParameters { invitation }): Query<SignUpParameters>,
) -> Response {
    let (sign_up, invitation) = (who_may_sign_up(&app), invitation.unwrap_or_default());
    Page::ok(SignUpPage { frame: frame(&app), sign_up, invitation }).into_response()
}

/// What the link of an administrator has.
#[derive(Deserialize)]
pub struct ResetParameters {
    token: Option<String>,
}

/// `GET /console/reset`: the form that sets a new password with a token.
pub async fn reset(
    State(app): State<Arc<App>>,
    Query(ResetParameters { token }): Query<ResetParameters>,
) -> Page<ResetPage> {
    Page::ok(ResetPage { frame: frame(&app), token: token.unwrap_or_default() })
}

const fn who_may_sign_up(app: &App) -> pages::SignUp {
    match app.settings.sign_up {
        SignUp::Open => pages::SignUp::Open,
        SignUp::Invite(_) => pages::SignUp::Invite,
        SignUp::Closed => pages::SignUp::Closed,
    }
}
