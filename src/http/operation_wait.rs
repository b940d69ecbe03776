//! Waiting for what became of a command, and the answer that follows.
//!
//! In: a command that was stored, its operation, and how long its caller waits. Out: the instance as it is when the
//! operation has ended or the wait has run out. Looks at this replica's own state, which the follower keeps fresh, so
//! an answer needs no database.

use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::ids::{InstanceId, OperationId, UserId};
use dockhost_domain::tenancy::{Instance, Outcome, Progress, Tenancy};
use dockhost_domain::wire::DesiredState;
use dockhost_projections::instances::Instances;
use serde_json::json;

use super::app::App;
use super::extract::prefer::Wait;
use super::response::{ApiError, Code, Reply};
use super::view;
use crate::event_log::LogError;
use crate::execute::CachedState;

/// An operation of a user's instance.
#[derive(Debug, Clone, Copy)]
pub struct OperationWait {
    /// Whose.
    pub user_id: UserId,
    /// Of which instance.
    pub instance_id: InstanceId,
    /// Which operation; none when there was nothing to do.
    pub operation_id: Option<OperationId>,
}

fn outcome(tenancy: &Tenancy, operation: Option<OperationId>) -> Outcome {
    let known = operation.and_then(|id| tenancy.operation(id));
    known.map_or(Outcome::Succeeded, |operation| operation.outcome.clone())
}

impl OperationWait {
    /// The state when the operation has ended, or when the wait has run out.
    async fn ended(&self, app: &App, wait: Wait) -> Result<CachedState<Tenancy>, ApiError> {
        let watching = app.follower.watch(Tenancy::subject(self.user_id));
        let ended = watching.wait_for(|| async {
            let held = app.executor.state::<Tenancy>(self.user_id).await?;
            let pending = outcome(&held.state, self.operation_id) == Outcome::Pending;
            Ok::<_, LogError>((!pending).then_some(held))
        });
        match tokio::time::timeout(wait.0, ended).await {
            Ok(held) => Ok(held?),
            Err(_) => Ok(app.executor.state::<Tenancy>(self.user_id).await?),
        }
    }

    /// Waits, then answers with the instance: `done` words the answer if all went well.
    ///
    /// # Errors
    /// `operation_failed` with the reasons, if it can't be done.
    pub async fn answer(
        &self,
        app: &App,
        wait: Wait,
        done: impl FnOnce(serde_json::Value) -> Reply,
    ) -> Result<Reply, ApiError> {
        let held = self.ended(app, wait).await?;
        if !wait.0.is_zero() {
            app.await_projection::<Instances>(held.sequence).await;
        }
        let instance = held.state.instance(self.instance_id).ok_or_else(|| ApiError::not_found("instance"))?;
        let shown = view::instance(app, self.user_id, self.instance_id, instance);
        let reply = match (outcome(&held.state, self.operation_id), self.operation_id) {
            (Outcome::Failed, Some(operation_id)) => return Err(self.failed(app, instance, operation_id)),
            (Outcome::Pending, Some(id)) => Reply::accepted("accepted, and being worked on", shown, id),
            (Outcome::Superseded, Some(id)) => Reply::accepted("another command came after this one", shown, id),
            _ => done(shown),
        };
        Ok(reply.position(app.position(held.sequence)))
    }

    fn failed(&self, app: &App, instance: &Instance, operation_id: OperationId) -> ApiError {
        let Progress::Failed { failure } = &instance.progress else {
            return ApiError::new(Code::OperationFailed, "this could not be done");
        };
        let what = participle(instance);
        let message = format!("the instance could not be {what}: its backend {}", failure.reason);
        ApiError::new(Code::OperationFailed, message).with(json!({
            "instanceId": self.instance_id,
            "operationId": operation_id,
            "reasons": view::reasons(app, instance, failure),
        }))
    }
}

/// What was being done, as a participle.
const fn participle(instance: &Instance) -> &'static str {
    match (instance.current_placement.is_some(), instance.desired) {
        (false, _) => "created",
        (true, DesiredState::Running) => "resumed",
        (true, DesiredState::Stopped) => "stopped",
        (true, DesiredState::Deleted) => "deleted",
    }
}
