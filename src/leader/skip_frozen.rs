//! Commands on many instances, of which those of a frozen tenancy must not block the others.

use dockhost_domain::ids::InstanceId;

use crate::execute::ExecuteError;

/// The outcome of a command on one of many instances; `None`, with a warning in the log, if its tenancy is frozen.
///
/// # Errors
/// Any other error of the command.
pub fn skip_frozen<T, R>(
    instance_id: InstanceId,
    outcome: Result<T, ExecuteError<R>>,
) -> Result<Option<T>, ExecuteError<R>> {
    match outcome {
        Err(ExecuteError::Frozen(_)) => {
            tracing::warn!(instance = %instance_id, "instance of a frozen tenancy skipped");
            Ok(None)
        }
        outcome => outcome.map(Some),
    }
}
