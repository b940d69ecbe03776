//! A line in the log for each operation that fails, whatever ends it: a report, a deadline, or the loss of a backend.

use dockhost_domain::ids::InstanceId;
use dockhost_domain::tenancy::event::FailureReason;
use dockhost_domain::tenancy::{Instance, OperationKind, Progress};

use crate::common::{areas, clock};

/// Logs that the operation of an instance has failed, if a command ended it so: these are the states before and after it.
pub fn log(instance: InstanceId, before: Option<&Instance>, after: Option<&Instance>) {
    let Some(Progress::Pending { operation_kind, operation, .. }) = before.map(|before| &before.progress) else {
        return;
    };
    let Some(Progress::Failed { failure }) = after.map(|after| &after.progress) else { return };
    let began = operation.and_then(|operation| clock::made_at(operation.uuid()));
    let seconds = began.map(|began| clock::now().since(began).as_secs_f64());
    // What the backend says about the reason is personal.
    tracing::warn!(
        target: areas::CONTAINER,
        %instance,
        operation = name(*operation_kind),
        backend = %failure.backend_id,
        reason = reason(&failure.reason),
        seconds,
        "an operation failed"
    );
}

const fn name(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Create => "create",
        OperationKind::Stop => "stop",
        OperationKind::Resume => "resume",
        OperationKind::Delete => "delete",
    }
}

const fn reason(reason: &FailureReason) -> &'static str {
    match reason {
        FailureReason::Refused(_) => "the backend refused",
        FailureReason::Failed(_) => "the backend failed",
        FailureReason::Late => "the backend did not answer in time",
        FailureReason::Lost => "the backend was lost",
        FailureReason::Removed => "the backend was removed",
    }
}
