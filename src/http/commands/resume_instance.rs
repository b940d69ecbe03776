//! `PUT /api/v2/user/instance/resume`: starts a stopped instance.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::wire::DesiredState;

use super::change::{InstanceRequest, change};
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentUser, Wait};
use crate::http::response::documented::{BODY, CALLER, COMMAND, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::Instance;

error_responses!(
    ResumeErrors: CALLER, BODY, COMMAND,
    &[Code::NotFound, Code::InstanceDeleting, Code::InstanceFailed, Code::OperationFailed]
);

/// Resume an instance
///
/// Starts a stopped instance. Resuming a running instance succeeds.
#[utoipa::path(
    put,
    path = "/api/v2/user/instance/resume",
    operation_id = "resumeInstance",
    tag = "Instances",
    security(("userToken" = []), ("userCookie" = [])),
    params(Wait),
    request_body = InstanceRequest,
    responses(
        (status = 200, description = "The instance is running and accepts logins.", body = Success<Instance>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        (
            status = 202,
            description = "The wait is over and the operation continues, or a later command superseded this one.",
            body = Success<Instance>,
            headers(
                ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
                ("Location" = String, description = "The operation, `/api/v2/operations/{id}`."),
            ),
        ),
        ResumeErrors,
    ),
)]
pub async fn put(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    wait: Wait,
    Body(InstanceRequest { instance_id }): Body<InstanceRequest>,
) -> Result<Reply<Instance>, ApiError> {
    change(&app, user_id, &instance_id, DesiredState::Running, wait, "the instance is running").await
}
