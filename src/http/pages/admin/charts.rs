//! The charts of `GET /admin`.

use std::sync::Arc;

use axum::extract::State;
use dockhost_dashboard::admin::charts::Charts;

use super::super::error::PageError;
use super::super::page::{Page, read};
use super::viewer::AdminViewer;
use crate::http::admin::charts::{self, ChartsParameters};
use crate::http::app::App;
use crate::http::extract::Query;
use crate::http::response::ApiError;

pub async fn part(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    parameters: Query<ChartsParameters>,
) -> Result<Page<Charts>, PageError> {
    Ok(Page::ok(charts(&app, viewer, parameters).await?))
}

/// The charts.
///
/// # Errors
/// Those of `GET /api/v2/admin/charts`.
pub async fn charts(
    app: &Arc<App>,
    viewer: AdminViewer,
    parameters: Query<ChartsParameters>,
) -> Result<Charts, ApiError> {
    let figures = charts::get(viewer.admin, State(Arc::clone(app)), parameters).await?;
    Ok(Charts { figures: read(figures.into_data())? })
}
