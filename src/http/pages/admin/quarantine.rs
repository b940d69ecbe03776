//! `GET /admin/quarantine`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use dockhost_dashboard::admin::quarantine::{Quarantine, QuarantinePage};
use serde::Deserialize;

use super::super::error::PageError;
use super::super::page::{Page, in_place, read};
use super::viewer::AdminViewer;
use crate::http::admin::quarantine::{self, QuarantineParameters};
use crate::http::app::App;
use crate::http::extract::Query;

/// Where a page of the list begins.
#[derive(Deserialize)]
pub struct Parameters {
    cursor: Option<String>,
}

pub async fn page(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    Query(parameters): Query<Parameters>,
) -> Result<Page<QuarantinePage>, PageError> {
    let (status, list) = list(&app, viewer, parameters).await;
    Ok(Page::with_status(status, QuarantinePage { frame: viewer.frame(&app).await?, list }))
}

pub async fn part(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    Query(parameters): Query<Parameters>,
) -> Page<Quarantine> {
    let (status, list) = list(&app, viewer, parameters).await;
    Page::with_status(status, list)
}

async fn list(app: &Arc<App>, viewer: AdminViewer, Parameters { cursor }: Parameters) -> (StatusCode, Quarantine) {
    let asked = Query(QuarantineParameters::after(cursor.clone()));
    let found = quarantine::get(viewer.admin, State(Arc::clone(app)), asked).await;
    let (status, aggregates) = in_place(found.and_then(|reply| read(reply.into_data())));
    (status, Quarantine { aggregates, cursor })
}
