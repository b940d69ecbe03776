//! `GET /console/keys`: the viewer's SSH keys.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use dockhost_dashboard::pages::KeysPage;
use dockhost_dashboard::parts::KeyList;

use super::account::account;
use super::caller::Viewer;
use super::error::PageError;
use super::page::{Page, frame_of, in_place, read};
use crate::http::admin::list::ArrayPage;
use crate::http::app::App;
use crate::http::extract::CurrentUser;
use crate::http::queries;

pub async fn page(Viewer(user): Viewer, State(app): State<Arc<App>>) -> Result<Page<KeysPage>, PageError> {
    let account = account(&app, user).await?;
    let (status, list) = list(&app, user).await;
    Ok(Page::with_status(status, KeysPage { frame: frame_of(&app, &account), list }))
}

pub async fn part(Viewer(user): Viewer, State(app): State<Arc<App>>) -> Page<KeyList> {
    let (status, list) = list(&app, user).await;
    Page::with_status(status, list)
}

/// The keys; an error is shown in their place.
async fn list(app: &Arc<App>, user: CurrentUser) -> (StatusCode, KeyList) {
    let found = queries::ssh_keys::get(user, State(Arc::clone(app)), ArrayPage::all()).await;
    let (status, keys) = in_place(found.and_then(|reply| read(reply.into_data())));
    (status, KeyList { keys })
}
