//! `GET /admin`: what needs attention, the service in numbers, and charts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use dockhost_dashboard::admin::overview::{Overview, OverviewPage};

use super::super::error::PageError;
use super::super::page::{Page, in_place, read};
use super::charts::charts;
use super::fleet::all_machines;
use super::viewer::AdminViewer;
use crate::http::admin::charts::ChartsParameters;
use crate::http::admin::instances::InstancesParameters;
use crate::http::admin::{instances, refusals};
use crate::http::app::App;
use crate::http::extract::{Query, ReadPosition};
use crate::http::queries;
use crate::http::response::ApiError;

pub async fn page(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    parameters: Query<ChartsParameters>,
) -> Result<Page<OverviewPage>, PageError> {
    let charts = charts(&app, viewer, parameters).await?;
    let (status, overview) = overview(&app, viewer).await?;
    Ok(Page::with_status(status, OverviewPage { frame: viewer.frame(&app).await?, overview, charts }))
}

pub async fn part(viewer: AdminViewer, State(app): State<Arc<App>>) -> Result<Page<Overview>, PageError> {
    let (status, overview) = overview(&app, viewer).await?;
    Ok(Page::with_status(status, overview))
}

async fn overview(app: &Arc<App>, viewer: AdminViewer) -> Result<(StatusCode, Overview), ApiError> {
    let (_, Json(health)) = queries::health::get(State(Arc::clone(app))).await;
    let (status, machines) = in_place(all_machines(app, viewer).await);
    let asked = Query(InstancesParameters::overdue());
    let found = instances::get(viewer.admin, State(Arc::clone(app)), ReadPosition(None), asked).await;
    let (overdue_status, overdue) = in_place(found.and_then(|reply| read(reply.into_data())));
    let refusals = read(refusals::get(viewer.admin, State(Arc::clone(app))).await?.into_data())?;
    Ok((status.max(overdue_status), Overview { health: read(health)?, machines, overdue, refusals }))
}
