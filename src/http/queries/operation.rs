//! `GET /api/v2/operations/{id}`: the outcome of a command, for seven days.
//!
//! It is read from the aggregate's state, not from a read model, so it is as current as the command itself.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::ids::OperationId;
use dockhost_domain::tenancy::Tenancy;

use crate::http::app::App;
use crate::http::extract::{CurrentUser, Path};
use crate::http::response::documented::{CALLER, STATE, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::Operation;

error_responses!(OperationErrors: CALLER, STATE, &[Code::NotFound]);

/// Get an operation
///
/// The outcome of a command on an instance, for 7 days.
#[utoipa::path(
    get,
    path = "/api/v2/operations/{id}",
    operation_id = "getOperation",
    tag = "Instances",
    security(("userToken" = []), ("userCookie" = [])),
    params(("id" = Uuid, Path, description = "The operation's id, from the header `Location` of a 202.")),
    responses((status = 200, description = "The operation.", body = Success<Operation>), OperationErrors),
)]
pub async fn get(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Reply<Operation>, ApiError> {
    let not_found = || ApiError::not_found("operation");
    let id: OperationId = id.parse().map_err(|_| not_found())?;
    let mut cached = app.executor.state::<Tenancy>(user_id).await?;
    if cached.state.operation(id).is_none() {
        cached = app.executor.confirmed::<Tenancy>(user_id).await?;
    }
    let operation = cached.state.operation(id).ok_or_else(not_found)?;
    let instance = cached.state.instance(operation.instance_id);
    Ok(Reply::ok("your operation", Operation::new(&app, user_id, id, operation, instance)))
}
