//! `GET /console`: the viewer's instances, and the form that creates one.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use dockhost_dashboard::pages::{InstancesPage, Size};
use dockhost_dashboard::parts::InstanceList;
use dockhost_domain::wire::Limits;

use super::account::account;
use super::caller::Viewer;
use super::error::PageError;
use super::page::{Page, frame_of, in_place, read};
use crate::http::admin::list::ArrayPage;
use crate::http::app::App;
use crate::http::extract::{CurrentUser, ReadPosition};
use crate::http::queries;

pub async fn page(Viewer(user): Viewer, State(app): State<Arc<App>>) -> Result<Page<InstancesPage>, PageError> {
    let account = account(&app, user).await?;
    let keys = read(queries::ssh_keys::get(user, State(Arc::clone(&app)), ArrayPage::all()).await?.into_data())?;
    let (status, list) = list(&app, user, account.max_instances).await;
    let offer = &app.settings.offer;
    let page = InstancesPage {
        frame: frame_of(&app, &account),
        list,
        keys,
        sizes: offer.sizes.iter().map(|(name, limits)| size(name.to_string(), limits)).collect(),
        default_size: size("standard".to_owned(), offer.default),
    };
    Ok(Page::with_status(status, page))
}

pub async fn part(Viewer(user): Viewer, State(app): State<Arc<App>>) -> Result<Page<InstanceList>, PageError> {
    let account = account(&app, user).await?;
    let (status, list) = list(&app, user, account.max_instances).await;
    Ok(Page::with_status(status, list))
}

/// The list; an error is shown in its place.
async fn list(app: &Arc<App>, user: CurrentUser, max_instances: Option<u32>) -> (StatusCode, InstanceList) {
    let found = queries::instances::get(user, State(Arc::clone(app)), ReadPosition(None), ArrayPage::all()).await;
    let (status, instances) = in_place(found.and_then(|reply| read(reply.into_data())));
    (status, InstanceList { instances, max_instances })
}

const fn size(name: String, Limits { cpu_millis, memory_mib, .. }: Limits) -> Size {
    Size { name, cpu_millis, memory_mib }
}
