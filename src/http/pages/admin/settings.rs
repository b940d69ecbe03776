//! `GET /admin/settings`.

use std::sync::Arc;

use axum::extract::State;
use dockhost_dashboard::admin::settings::{Setting, SettingsPage};
use dockhost_dashboard::admin::{Chip, List};
use serde::Deserialize;

use super::super::error::PageError;
use super::super::page::{Page, read};
use super::viewer::AdminViewer;
use crate::http::admin::settings;
use crate::http::app::App;
use crate::http::extract::Query;

/// Which settings.
#[derive(Deserialize)]
pub struct SettingsParameters {
    /// Only those that somebody chose.
    chosen: Option<bool>,
}

pub async fn page(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    Query(SettingsParameters { chosen }): Query<SettingsParameters>,
) -> Result<Page<SettingsPage>, PageError> {
    let found = settings::get(viewer.admin, State(Arc::clone(&app))).await?;
    let mut settings: List<Setting> = read(found.into_data())?;
    let is_chosen = chosen == Some(true);
    settings.items.retain(|setting| !is_chosen || setting.is_chosen());
    let chip = |name, address: &str, is_chosen| Chip { name, address: address.to_owned(), is_chosen };
    let chips = vec![
        chip("All", "/admin/settings", !is_chosen),
        chip("Not the default", "/admin/settings?chosen=true", is_chosen),
    ];
    Ok(Page::ok(SettingsPage { frame: viewer.frame(&app).await?, settings, chips }))
}
