//! Waits for the outcome of a command on an instance, and answers with the instance.
//!
//! It watches this replica's cached state, which the follower keeps current, so an answer needs no database.

use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::ids::{InstanceId, OperationId, UserId};
use dockhost_domain::tenancy::{self, OperationKind, Outcome, Progress, Tenancy};
use dockhost_projections::instances::Instances;

use super::app::App;
use super::consistency::LogPosition;
use super::extract::Wait;
use super::group_of::limits_of;
use super::response::details::OperationDetails;
use super::response::{ApiError, Code, Details, Reply, Success};
use super::views::{Instance, backend_reasons};
use crate::event_log::LogError;
use crate::execute::CachedState;

/// The wait is over and the operation continues, or a later command superseded this one.
#[derive(utoipa::IntoResponses)]
#[response(
    status = 202,
    headers(
        ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        ("Location" = String, description = "The operation, `/api/v2/operations/{id}`."),
    ),
)]
#[expect(dead_code, reason = "describes an answer in the API's document")]
pub struct Accepted(Success<Instance>);

/// An operation to wait for.
#[derive(Debug, Clone, Copy)]
pub struct OperationWait {
    /// The owner.
    pub user_id: UserId,
    /// The instance.
    pub instance_id: InstanceId,
    /// The operation; none if the instance was in the desired state already.
    pub operation_id: Option<OperationId>,
}

impl OperationWait {
    fn operation<'a>(&self, tenancy: &'a Tenancy) -> Option<(OperationId, &'a tenancy::Operation)> {
        let id = self.operation_id?;
        tenancy.operation(id).map(|operation| (id, operation))
    }

    fn outcome(&self, tenancy: &Tenancy) -> Outcome {
        self.operation(tenancy).map_or(Outcome::Succeeded, |(_, operation)| operation.outcome.clone())
    }

    /// The state when the operation has ended, or when the wait is over. A shutdown ends the wait, because the caller
    /// would otherwise not learn the operation's id.
    async fn state(&self, app: &App, wait: Wait) -> Result<CachedState<Tenancy>, ApiError> {
        let watching = app.follower.watch(Tenancy::subject(self.user_id));
        let ended = watching.wait_for(|| async {
            let cached = app.executor.state::<Tenancy>(self.user_id).await?;
            let pending = self.outcome(&cached.state) == Outcome::Pending;
            Ok::<_, LogError>((!pending).then_some(cached))
        });
        let limited = tokio::time::timeout(wait.0, ended);
        match app.stages.draining.run_until_cancelled(limited).await {
            Some(Ok(cached)) => Ok(cached?),
            Some(Err(_)) | None => Ok(app.executor.state::<Tenancy>(self.user_id).await?),
        }
    }

    /// Waits, then answers with the instance: by `succeeded` if the operation succeeded, with 202 if it goes on.
    ///
    /// # Errors
    /// `operation_failed` with the reasons; `not_found`, and those of the log.
    pub async fn answer(
        &self,
        app: &App,
        wait: Wait,
        succeeded: impl FnOnce(Instance) -> Reply<Instance>,
    ) -> Result<Reply<Instance>, ApiError> {
        let cached = self.state(app, wait).await?;
        if !wait.0.is_zero() && !app.stages.draining.is_cancelled() {
            app.wait_until_projected::<Instances>(cached.sequence).await;
        }
        let instance = cached.state.instance(self.instance_id).ok_or_else(|| ApiError::not_found("instance"))?;
        let group = limits_of(app, self.user_id).await?;
        let view = Instance::new(app, self.user_id, self.instance_id, instance, group);
        let reply = match self.operation(&cached.state).map(|(id, operation)| (id, operation.kind, &operation.outcome))
        {
            Some((id, kind, Outcome::Failed)) => return Err(self.failed(app, instance, id, kind)),
            Some((id, _, Outcome::Pending)) => Reply::accepted("accepted; the operation continues", view, id),
            Some((id, _, Outcome::Superseded)) => Reply::accepted("superseded by a later command", view, id),
            Some((_, _, Outcome::Succeeded)) | None => succeeded(view),
        };
        Ok(reply.position(app.position(cached.sequence)))
    }

    fn failed(&self, app: &App, instance: &tenancy::Instance, id: OperationId, kind: OperationKind) -> ApiError {
        let attempted = attempted(kind);
        let message = match &instance.progress {
            Progress::Failed { failure } => {
                format!("the instance could not be {attempted}: its backend {}", failure.reason.explain())
            }
            // A later command changed the instance: the request was repeated with its `Idempotency-Key`.
            Progress::Pending { .. } | Progress::Stable | Progress::Deleted { .. } => {
                format!("the instance could not be {attempted}")
            }
        };
        ApiError::new(Code::OperationFailed, message).with(Details::Operation(OperationDetails {
            instance_id: self.instance_id,
            operation_id: id,
            reasons: backend_reasons(app, instance),
        }))
    }
}

/// What a failed operation attempted.
const fn attempted(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Create => "created",
        OperationKind::Resume => "resumed",
        OperationKind::Stop => "stopped",
        OperationKind::Delete => "deleted",
    }
}
