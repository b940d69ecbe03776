//! `GET /admin/instances`, and what happened to one.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use dockhost_dashboard::admin::log::{AllInstances, AllInstancesPage, HistoryPage, InstanceEvents, OwnedInstance};
use dockhost_dashboard::admin::{Chip, List};
use serde::Deserialize;

use super::super::error::PageError;
use super::super::page::{Page, in_place, read};
use super::viewer::AdminViewer;
use super::with_parameter;
use crate::http::admin::instances::InstancesParameters;
use crate::http::admin::{instance_history, instances};
use crate::http::app::App;
use crate::http::extract::{Path, Query, ReadPosition};
use crate::http::past::history::HistoryParameters;

/// Events that a page shows.
const EVENTS: u32 = 200;

/// The states that can be chosen, by their words.
const STATES: [(&str, Option<&str>); 5] = [
    ("All", None),
    ("Running", Some("running")),
    ("Stopped", Some("stopped")),
    ("Failed", Some("failed")),
    ("Creating", Some("creating")),
];

/// What is looked for by name.
#[derive(Deserialize)]
pub struct SearchParameters {
    name: Option<String>,
}

/// What a search by name keeps. Values are ids and words, which are not encoded.
fn kept(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let others = pairs.filter(|(parameter, _)| !["name", "cursor"].contains(parameter));
    others.map(|(parameter, value)| (parameter.to_owned(), value.to_owned())).collect()
}

/// Which instances are shown if not those of everybody.
fn narrowed(query: &str) -> Option<&'static str> {
    if query.contains("overdue=") {
        return Some("Those whose operation is overdue.");
    }
    (query.contains("user=") || query.contains("backend=")).then_some("Of one person or machine.")
}

pub async fn page(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    Query(SearchParameters { name }): Query<SearchParameters>,
    Query(parameters): Query<InstancesParameters>,
) -> Result<Page<AllInstancesPage>, PageError> {
    let query = query.unwrap_or_default();
    let chip = |(name, status): (&'static str, Option<&str>)| {
        let chosen = with_parameter(&with_parameter(&query, "cursor", None), "status", status);
        let is_chosen = chosen == with_parameter(&query, "cursor", None);
        Chip { name, address: format!("/admin/instances?{chosen}"), is_chosen }
    };
    let chips = STATES.map(chip).to_vec();
    let (name, kept, narrowed) = (name.unwrap_or_default(), kept(&query), narrowed(&query));
    let (status, list) = list(&app, viewer, query, parameters).await;
    let page = AllInstancesPage { frame: viewer.frame(&app).await?, list, chips, name, kept, narrowed };
    Ok(Page::with_status(status, page))
}

pub async fn part(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    Query(parameters): Query<InstancesParameters>,
) -> Page<AllInstances> {
    let (status, list) = list(&app, viewer, query.unwrap_or_default(), parameters).await;
    Page::with_status(status, list)
}

pub async fn history_page(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Page<HistoryPage>, PageError> {
    let (status, events) = history(&app, viewer, id).await;
    Ok(Page::with_status(status, HistoryPage { frame: viewer.frame(&app).await?, events }))
}

pub async fn history_part(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Page<InstanceEvents> {
    let (status, events) = history(&app, viewer, id).await;
    Page::with_status(status, events)
}

async fn list(
    app: &Arc<App>,
    viewer: AdminViewer,
    query: String,
    parameters: InstancesParameters,
) -> (StatusCode, AllInstances) {
    let app = State(Arc::clone(app));
    let found = instances::get(viewer.admin, app, ReadPosition(None), Query(parameters)).await;
    let (status, instances) = in_place(found.and_then(|reply| read::<List<OwnedInstance>>(reply.into_data())));
    let cursor = instances.as_ref().ok().and_then(|list| list.next_cursor.as_deref());
    let next = cursor.map(|cursor| format!("/admin/instances?{}", with_parameter(&query, "cursor", Some(cursor))));
    (status, AllInstances { instances, query, next })
}

async fn history(app: &Arc<App>, viewer: AdminViewer, id: String) -> (StatusCode, InstanceEvents) {
    let (app, parameters) = (State(Arc::clone(app)), Query(HistoryParameters::first(EVENTS)));
    let found = instance_history::get(viewer.admin, app, Path(id.clone()), ReadPosition(None), parameters).await;
    let (status, history) = in_place(found.and_then(|reply| read(reply.into_data())));
    (status, InstanceEvents { id, history })
}
