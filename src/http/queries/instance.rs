//! `GET /api/v2/user/instance/{instanceId}`: one of the caller's instances. Another user's is answered like one that
//! does not exist.

use std::sync::Arc;

use axum::extract::State;
use dockhost_projections::instances::{InstanceRef, Instances};

use crate::http::app::App;
use crate::http::consistency::{self, Stale};
use crate::http::extract::{CurrentUser, Path, ReadPosition};
use crate::http::response::details::StaleDetails;
use crate::http::response::documented::{CALLER, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Code, Details, Reply, Success};
use crate::http::views::Instance;

// 405 answers the ids `stop` and `resume`, which are paths of their own.
error_responses!(InstanceErrors: CALLER, READ_MODEL, &[Code::NotFound, Code::MethodNotAllowed]);

/// Get an instance
#[utoipa::path(
    get,
    path = "/api/v2/user/instance/{instanceId}",
    operation_id = "getInstance",
    tag = "Instances",
    security(("userToken" = []), ("userCookie" = [])),
    params(("instanceId" = String, Path, description = "The instance's id or its name."), ReadPosition),
    responses(
        (status = 200, description = "The instance.", body = Success<Instance>, headers(
            ("Dockhost-Stale" = u64, description = "If events are missing: the first sequence that is."),
        )),
        InstanceErrors,
    ),
)]
pub async fn get(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    Path(id_or_name): Path<String>,
    position: ReadPosition,
) -> Result<Reply<Instance>, ApiError> {
    let reference = match (id_or_name.parse(), id_or_name.parse()) {
        (Ok(id), _) => InstanceRef::Id(id),
        (_, Ok(name)) => InstanceRef::Name(name),
        _ => return Err(ApiError::not_found("instance")),
    };
    consistency::read_after::<Instances>(&app, position).await?;
    let read = app.store.instance_of(user_id, &reference).await.map_err(|error| ApiError::database(&error))?;
    let since = consistency::stale_since::<Instances>(&app, read.stale_since);
    let document = read.value.ok_or_else(|| {
        let not_found = ApiError::not_found("instance");
        match since {
            // It may be in the missing events.
            Some(since) => not_found.with(Details::Stale(StaleDetails { stale: Stale { since } })),
            None => not_found,
        }
    })?;
    let view = Instance::new(&app, user_id, document.instance_id, &document.state).stale(since);
    Ok(Reply::ok("your instance", view).stale(since))
}
