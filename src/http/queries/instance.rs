//! `GET /api/v2/user/instance/{instanceId}`: one instance, by id or name; another's looks like none.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use dockhost_projections::instances::{InstanceRef, Instances};
use serde_json::json;

use crate::http::app::App;
use crate::http::extract::caller::CurrentUser;
use crate::http::extract::url::Path;
use crate::http::response::Reply;
use crate::http::response::error::ApiError;
use crate::http::{consistency, view};

/// Handles the request.
///
/// # Errors
/// `not_found`, `not_caught_up`, `database_unavailable`.
pub async fn get(
    State(app): State<Arc<App>>,
    Extension(CurrentUser { user_id, .. }): Extension<CurrentUser>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Reply, ApiError> {
    let which = match (name.parse(), name.parse()) {
        (Ok(id), _) => InstanceRef::Id(id),
        (_, Ok(name)) => InstanceRef::Name(name),
        _ => return Err(ApiError::not_found("instance")),
    };
    consistency::read_after::<Instances>(&app, &headers).await?;
    let shown = app.store.instance_of(user_id, &which).await.map_err(|error| ApiError::database(&error))?;
    let since = consistency::stale_since::<Instances>(&app, shown.stale_since);
    let found = shown.value.ok_or_else(|| {
        let missing = ApiError::not_found("instance");
        // It may be in the events that could not be read.
        if since.is_some() { missing.with(consistency::with_stale(json!({}), since)) } else { missing }
    })?;
    let view = view::instance(&app, user_id, found.instance_id, &found.state);
    Ok(Reply::ok("your instance", consistency::with_stale(view, since)).stale(since))
}
