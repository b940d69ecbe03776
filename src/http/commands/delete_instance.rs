//! `DELETE /api/v2/user/instance`: deletes an instance, whatever state it is in.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::wire::DesiredState;
use serde::Deserialize;

use super::change::change;
use super::named_instance::{InstanceRequest, Named};
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{IfMatch, InstanceUser, JsonObject, Query, Wait};
use crate::http::operation_wait::Accepted;
use crate::http::response::documented::{BODY, CALLER_OF_COMMAND, COMMAND, ON_VERSION, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::Instance;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct DeleteParameters {
    /// The instance's id or its name; if it is given, the body is not read.
    instance_id: Option<String>,
}

// A deletion can't fail: it ends by its deadline.
error_responses!(DeleteErrors: CALLER_OF_COMMAND, BODY, COMMAND, ON_VERSION, &[Code::NotFound]);

/// Delete an instance
///
/// Accepted in every state; deleting a deleted instance by its id succeeds. If its backend does not answer, the instance
/// is deleted at the operation's deadline, and the backend removes the container when it is back.
#[utoipa::path(
    delete,
    path = "/api/v2/user/instance",
    operation_id = "deleteInstance",
    tag = "Instances",
    security(("userToken" = []), ("userCookie" = [])),
    params(DeleteParameters, IfMatch, Wait),
    request_body = Option<InstanceRequest>,
    responses(
        (status = 200, description = "The instance is deleted.", body = Success<Instance>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        Accepted,
        DeleteErrors,
    ),
)]
pub async fn delete(
    InstanceUser { user_id }: InstanceUser,
    State(app): State<Arc<App>>,
    if_match: IfMatch,
    wait: Wait,
    Query(parameters): Query<DeleteParameters>,
    body: JsonObject,
) -> Result<Reply<Instance>, ApiError> {
    let instance = match parameters.instance_id {
        Some(instance_id) => Named::by(&instance_id)?,
        None => body.read::<InstanceRequest>()?.named()?,
    };
    change(&app, user_id, (instance, if_match), DesiredState::Deleted, wait).await
}
