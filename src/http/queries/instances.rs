//! `GET /api/v2/user/instance`: the caller's instances, the oldest first, deleted ones left out.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use dockhost_projections::instances::{InstanceDocument, Instances};

use crate::http::access::CallingUser;
use crate::http::after;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::reply::Reply;
use crate::http::{stale, view};

/// Handles the request.
///
/// # Errors
/// `not_caught_up`, `database_unavailable`.
pub async fn get(
    State(app): State<Arc<App>>,
    Extension(CallingUser { user_id, .. }): Extension<CallingUser>,
    headers: HeaderMap,
) -> Result<Reply, ApiError> {
    after::wait::<Instances>(&app, &headers).await?;
    let shown = app.store.instances_of(user_id).await.map_err(|error| ApiError::database(&error))?;
    let since = stale::since::<Instances>(&app, shown.stale_since);
    let view = |found: &InstanceDocument| view::instance(&app, user_id, found.instance_id, &found.state);
    let instances: Vec<_> = shown.found.iter().map(|found| stale::mark(view(found), since)).collect();
    Ok(Reply::ok("your instances", instances).stale(since))
}
