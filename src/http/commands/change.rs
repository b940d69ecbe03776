//! What stop, resume and delete share: they differ in the desired state only.

use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::{InstanceId, OperationId, UserId};
use dockhost_domain::names::InstanceName;
use dockhost_domain::tenancy::{self, ChangeInstance, ChangeRejected, Progress, Tenancy};
use dockhost_domain::wire::DesiredState;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::common::clock;
use crate::http::app::App;
use crate::http::extract::Wait;
use crate::http::operation_wait::OperationWait;
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply};
use crate::http::views::Instance;

/// The instance that a command is for.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "instanceId": "ada-container" })))]
pub struct InstanceRequest {
    /// The instance's id or its name.
    #[garde(skip)]
    #[schema(pattern = r"^[^\u0000-\u0009\u000b\u000c\u000e-\u001f\u007f-\u009f]*$")]
    pub instance_id: String,
}

/// The instance of this id or name. `not_found` rests on a state that the log has confirmed.
async fn find(app: &App, user_id: UserId, id_or_name: &str) -> Result<InstanceId, ApiError> {
    if let Ok(id) = id_or_name.parse::<InstanceId>() {
        return Ok(id);
    }
    let not_found = || ApiError::not_found("instance");
    let name: InstanceName = id_or_name.parse().map_err(|_| not_found())?;
    if let Some(id) = app.executor.state::<Tenancy>(user_id).await?.state.find_by_name(&name) {
        return Ok(id);
    }
    app.executor.confirmed::<Tenancy>(user_id).await?.state.find_by_name(&name).ok_or_else(not_found)
}

fn rejected(rejection: &ChangeRejected) -> ApiError {
    let message = rejection.to_string();
    match rejection {
        ChangeRejected::NotFound => ApiError::not_found("instance"),
        ChangeRejected::Deleting => ApiError::new(Code::InstanceDeleting, message),
        ChangeRejected::NeverCreated => ApiError::new(Code::InstanceFailed, message),
    }
}

/// The operation under way, if any.
fn pending_operation(instance: &tenancy::Instance) -> Option<OperationId> {
    match instance.progress {
        Progress::Pending { operation, .. } => operation,
        Progress::Stable | Progress::Failed { .. } | Progress::Deleted { .. } => None,
    }
}

/// Changes the desired state of an instance, waits for the outcome, and answers; `message` if it succeeded.
///
/// # Errors
/// `not_found`, `instance_deleting`, `instance_failed`, `operation_failed`, and those of the log.
pub async fn change(
    app: &App,
    user_id: UserId,
    id_or_name: &str,
    to: DesiredState,
    wait: Wait,
    message: &'static str,
) -> Result<Reply<Instance>, ApiError> {
    let instance_id = find(app, user_id, id_or_name).await?;
    let command = ChangeInstance { instance_id, to, now: clock::now(), policy: app.settings.policy };
    let done = app
        .executor
        .execute(user_id, app.origin(Actor::User(user_id)), command)
        .await
        .map_err(|error| from_execute(error, |rejection| rejected(&rejection)))?;
    let pending = done.current.state.instance(instance_id).and_then(pending_operation);
    let operation_id = done.stored.map(OperationId::from).or(pending);
    OperationWait { user_id, instance_id, operation_id }.answer(app, wait, |view| Reply::ok(message, view)).await
}
