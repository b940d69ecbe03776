//! `GET /api/v2/user/instance`: the caller's instances.

use std::sync::Arc;

use axum::extract::State;
use dockhost_projections::instances::Instances;

use crate::http::app::App;
use crate::http::consistency;
use crate::http::extract::{CurrentUser, ReadPosition};
use crate::http::response::documented::{CALLER, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Reply, Success};
use crate::http::views::Instance;

error_responses!(InstancesErrors: CALLER, READ_MODEL);

/// List your instances
///
/// The oldest first, without deleted ones.
#[utoipa::path(
    get,
    path = "/api/v2/user/instance",
    operation_id = "listInstances",
    tag = "Instances",
    security(("userToken" = []), ("userCookie" = [])),
    params(ReadPosition),
    responses(
        (status = 200, description = "The instances.", body = Success<Vec<Instance>>, headers(
            ("Dockhost-Stale" = u64, description = "If events are missing: the first sequence that is."),
        )),
        InstancesErrors,
    ),
)]
pub async fn get(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    position: ReadPosition,
) -> Result<Reply<Vec<Instance>>, ApiError> {
    consistency::read_after::<Instances>(&app, position).await?;
    let read = app.store.instances_of(user_id).await.map_err(|error| ApiError::database(&error))?;
    let since = consistency::stale_since::<Instances>(&app, read.stale_since);
    let views = read
        .value
        .iter()
        .map(|document| Instance::new(&app, user_id, document.instance_id, &document.state).stale(since));
    Ok(Reply::ok("your instances", views.collect::<Vec<_>>()).stale(since))
}
