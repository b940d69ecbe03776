//! `PUT /api/v2/user/instance/stop`: stops an instance; its files and ports are kept.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::wire::DesiredState;

use super::change::{ChangeErrors, change};
use super::named_instance::InstanceRequest;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, IfMatch, InstanceUser, Wait};
use crate::http::operation_wait::Accepted;
use crate::http::response::{ApiError, Reply, Success};
use crate::http::views::Instance;

/// Stop an instance
///
/// Its files and ports are kept. Stopping a stopped instance succeeds.
#[utoipa::path(
    put,
    path = "/api/v2/user/instance/stop",
    operation_id = "stopInstance",
    tag = "Instances",
    security(("userToken" = []), ("userCookie" = [])),
    params(IfMatch, Wait),
    request_body = InstanceRequest,
    responses(
        (status = 200, description = "The instance is stopped.", body = Success<Instance>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        Accepted,
        ChangeErrors,
    ),
)]
pub async fn put(
    InstanceUser { user_id }: InstanceUser,
    State(app): State<Arc<App>>,
    if_match: IfMatch,
    wait: Wait,
    Body(request): Body<InstanceRequest>,
) -> Result<Reply<Instance>, ApiError> {
    change(&app, user_id, (request.named()?, if_match), DesiredState::Stopped, wait).await
}
