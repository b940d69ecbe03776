//! `GET /` for browsers: whether the service is up. It shows nothing that is private.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use dockhost_dashboard::pages::StatusPage;

use super::error::PageError;
use super::has_console;
use super::page::{Page, frame, read};
use crate::http::app::App;
use crate::http::queries;

/// The status page, with the status of `/health`.
pub async fn status(app: &Arc<App>) -> Response {
    let (_, Json(health)) = queries::health::get(State(Arc::clone(app))).await;
    let page = read(health).map(|health| {
        let template =
            StatusPage { frame: frame(app), health, instances: instances(app), has_console: has_console(app) };
        Page::ok(template)
    });
    page.map_err(PageError::from).into_response()
}

/// The instances on the connected machines, as their last heartbeats say.
fn instances(app: &App) -> u64 {
    let fleet = app.follower.fleet();
    let last = fleet.connected().into_iter().filter_map(|(id, _)| app.heartbeats.last(id));
    last.map(|last| u64::from(last.heartbeat.containers)).sum()
}
