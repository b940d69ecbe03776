//! `GET /console/account`: the viewer's profile, sessions, API tokens, password and data.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use dockhost_dashboard::account::{Account, ApiToken, Session};
use dockhost_dashboard::pages::AccountPage;
use dockhost_dashboard::parts::{Profile, SessionList, TokenList};

use super::caller::Viewer;
use super::error::PageError;
use super::page::{Page, frame_of, in_place, read};
use crate::http::admin::list::ArrayPage;
use crate::http::app::App;
use crate::http::extract::{CurrentUser, IfNoneMatch, ReadPosition};
use crate::http::queries;
use crate::http::response::ApiError;

/// The viewer's account.
///
/// # Errors
/// Those of `GET /api/v2/user/me`.
pub async fn account(app: &Arc<App>, user: CurrentUser) -> Result<Account, ApiError> {
    read(queries::me::get(user, State(Arc::clone(app)), ReadPosition(None), IfNoneMatch::default()).await?.into_data())
}

pub async fn page(Viewer(user): Viewer, State(app): State<Arc<App>>) -> Result<Page<AccountPage>, PageError> {
    let account = account(&app, user).await?;
    let (sessions_status, sessions) = sessions(&app, user).await;
    let (tokens_status, tokens) = tokens(&app, user).await;
    let page = AccountPage {
        frame: frame_of(&app, &account),
        profile: Profile { account: Ok(account) },
        sessions: SessionList { sessions },
        tokens: TokenList { tokens },
    };
    Ok(Page::with_status(sessions_status.max(tokens_status), page))
}

pub async fn profile_part(Viewer(user): Viewer, State(app): State<Arc<App>>) -> Page<Profile> {
    let (status, account) = in_place(account(&app, user).await);
    Page::with_status(status, Profile { account })
}

pub async fn sessions_part(Viewer(user): Viewer, State(app): State<Arc<App>>) -> Page<SessionList> {
    let (status, sessions) = sessions(&app, user).await;
    Page::with_status(status, SessionList { sessions })
}

pub async fn tokens_part(Viewer(user): Viewer, State(app): State<Arc<App>>) -> Page<TokenList> {
    let (status, tokens) = tokens(&app, user).await;
    Page::with_status(status, TokenList { tokens })
}

async fn sessions(app: &Arc<App>, user: CurrentUser) -> (StatusCode, Result<Vec<Session>, String>) {
    let found = queries::sessions::get(user, State(Arc::clone(app)), ReadPosition(None), ArrayPage::all()).await;
    in_place(found.and_then(|reply| read(reply.into_data())))
}

async fn tokens(app: &Arc<App>, user: CurrentUser) -> (StatusCode, Result<Vec<ApiToken>, String>) {
    let found = queries::tokens::get(user, State(Arc::clone(app)), ArrayPage::all()).await;
    in_place(found.and_then(|reply| read(reply.into_data())))
}
