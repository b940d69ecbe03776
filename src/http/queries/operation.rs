//! `GET /api/v2/operations/{id}`: what became of a command, for seven days. Answered from the state, not from the
//! database, so it is as fresh as the command itself.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use dockhost_domain::ids::OperationId;
use dockhost_domain::tenancy::Tenancy;

use crate::http::app::App;
use crate::http::extract::caller::CurrentUser;
use crate::http::extract::url::Path;
use crate::http::response::Reply;
use crate::http::response::error::ApiError;
use crate::http::view;

/// Handles the request.
///
/// # Errors
/// `not_found`, and those of the log.
pub async fn get(
    State(app): State<Arc<App>>,
    Extension(CurrentUser { user_id, .. }): Extension<CurrentUser>,
    Path(id): Path<String>,
) -> Result<Reply, ApiError> {
    let not_found = || ApiError::not_found("operation");
    let id: OperationId = id.parse().map_err(|_| not_found())?;
    let mut held = app.executor.state::<Tenancy>(user_id).await?;
    if held.state.operation(id).is_none() {
        held = app.executor.confirmed::<Tenancy>(user_id).await?;
    }
    let operation = held.state.operation(id).ok_or_else(not_found)?;
    let instance = held.state.instance(operation.instance_id);
    Ok(Reply::ok("your operation", view::operation(&app, user_id, id, operation, instance)))
}
