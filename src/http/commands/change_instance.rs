//! `PUT …/instance/stop`, `PUT …/instance/resume`, `DELETE …/instance`: a user wants an instance otherwise.
//!
//! In: `instanceId`, the id or the name, in the body (for DELETE also in the query). Out: 200 when it is so, 202 when
//! the wait ran out. The three differ in what is wanted and in words only.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::{InstanceId, OperationId, UserId};
use dockhost_domain::names::InstanceName;
use dockhost_domain::tenancy::{ChangeInstance, ChangeRejected, Instance, Progress, Tenancy};
use dockhost_domain::wire::DesiredState;
use serde::Deserialize;

use crate::common::clock;
use crate::http::app::App;
use crate::http::extract::caller::CurrentUser;
use crate::http::extract::fields::Fields;
use crate::http::extract::prefer::Wait;
use crate::http::extract::url::Query;
use crate::http::operation_wait::OperationWait;
use crate::http::response::Reply;
use crate::http::response::error::{ApiError, Code, from_execute};

/// `?instanceId=`.
#[derive(Deserialize)]
pub struct Which {
    #[serde(rename = "instanceId")]
    instance_id: Option<String>,
}

/// Stops an instance.
///
/// # Errors
/// `validation_failed`, `not_found`, `instance_deleting`, `instance_failed`, `operation_failed`, those of the log.
pub async fn stop(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CurrentUser>,
    wait: Wait,
    body: Fields,
) -> Result<Reply, ApiError> {
    change(&app, caller.user_id, &named(body)?, DesiredState::Stopped, wait, "the instance is stopped").await
}

/// Starts an instance again.
///
/// # Errors
/// As [`stop`].
pub async fn resume(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CurrentUser>,
    wait: Wait,
    body: Fields,
) -> Result<Reply, ApiError> {
    change(&app, caller.user_id, &named(body)?, DesiredState::Running, wait, "the instance runs").await
}

/// Deletes an instance, in whatever state it is.
///
/// # Errors
/// `validation_failed`, `not_found`, those of the log.
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CurrentUser>,
    wait: Wait,
    Query(which): Query<Which>,
    body: Fields,
) -> Result<Reply, ApiError> {
    let name = match which.instance_id {
        Some(name) => name,
        None => named(body)?,
    };
    change(&app, caller.user_id, &name, DesiredState::Deleted, wait, "the instance is deleted").await
}

fn named(mut body: Fields) -> Result<String, ApiError> {
    let name = body.required("instanceId");
    body.done(name)
}

/// The instance that a caller means. "There is none" is said only of a state that the log confirms.
async fn find(app: &App, user_id: UserId, name: &str) -> Result<InstanceId, ApiError> {
    if let Ok(id) = name.parse::<InstanceId>() {
        return Ok(id);
    }
    let not_found = || ApiError::not_found("instance");
    let name: InstanceName = name.parse().map_err(|_| not_found())?;
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

/// What is being worked on, when there was nothing new to do.
fn under_way(instance: &Instance) -> Option<OperationId> {
    match instance.progress {
        Progress::Pending { operation, .. } => operation,
        Progress::Stable | Progress::Failed { .. } | Progress::Deleted { .. } => None,
    }
}

async fn change(
    app: &App,
    user_id: UserId,
    name: &str,
    to: DesiredState,
    wait: Wait,
    done: &str,
) -> Result<Reply, ApiError> {
    let instance_id = find(app, user_id, name).await?;
    let command = ChangeInstance { instance_id, to, now: clock::now(), policy: app.settings.policy };
    let changed = app
        .executor
        .execute(user_id, app.origin(Actor::User(user_id)), command)
        .await
        .map_err(|error| from_execute(error, |rejection| rejected(&rejection)))?;
    let under_way = changed.current.state.instance(instance_id).and_then(under_way);
    let operation_id = changed.stored.map(OperationId::from).or(under_way);
    OperationWait { user_id, instance_id, operation_id }.answer(app, wait, |instance| Reply::ok(done, instance)).await
}
