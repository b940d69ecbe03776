//! `GET /api/v2/user/instance`: the caller's instances, the oldest first, deleted ones left out.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use dockhost_projections::instances::{InstanceDocument, Instances};

use crate::http::app::App;
use crate::http::extract::caller::CurrentUser;
use crate::http::response::Reply;
use crate::http::response::error::ApiError;
use crate::http::{consistency, view};

/// Handles the request.
///
/// # Errors
/// `not_caught_up`, `database_unavailable`.
pub async fn get(
    State(app): State<Arc<App>>,
    Extension(CurrentUser { user_id, .. }): Extension<CurrentUser>,
    headers: HeaderMap,
) -> Result<Reply, ApiError> {
    consistency::read_after::<Instances>(&app, &headers).await?;
    let shown = app.store.instances_of(user_id).await.map_err(|error| ApiError::database(&error))?;
    let since = consistency::stale_since::<Instances>(&app, shown.stale_since);
    let view = |found: &InstanceDocument| view::instance(&app, user_id, found.instance_id, &found.state);
    let instances: Vec<_> = shown.value.iter().map(|found| consistency::with_stale(view(found), since)).collect();
    Ok(Reply::ok("your instances", instances).stale(since))
}
