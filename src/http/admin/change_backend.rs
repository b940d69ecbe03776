//! What the commands on one backend share: its id in the path, the command, and the backend as it is afterwards.

use std::sync::Arc;

use dockhost_domain::aggregate::Command;
use dockhost_domain::backend;
use dockhost_domain::envelope::Origin;
use dockhost_domain::ids::BackendId;
use dockhost_projections::backends::Backends;

use crate::http::app::App;
use crate::http::extract::{IfMatch, IfNoneMatch};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Reply};
use crate::http::version::OnVersion;
use crate::http::views::{Backend, version_of_machine};

/// The backend that a path names.
///
/// # Errors
/// `not_found`.
pub fn backend_id(text: &str) -> Result<BackendId, ApiError> {
    text.parse().map_err(|_| ApiError::not_found("backend"))
}

/// Executes an administrator's command on a backend, waits for the read model, and answers with the backend. Each rejection
/// means that there is no such backend.
///
/// # Errors
/// `not_found`, and those of the log.
pub async fn change<C>(
    app: &Arc<App>,
    origin: Origin,
    backend: &str,
    command: C,
    message: &'static str,
) -> Result<Reply<Backend>, ApiError>
where
    C: Command<Aggregate = backend::Backend> + 'static,
{
    change_on(app, origin, backend, IfMatch::default(), command, message).await
}

/// The same, if the backend has a version that the caller has seen.
///
/// # Errors
/// `precondition_failed`, and those of [`change`].
pub async fn change_on<C>(
    app: &Arc<App>,
    origin: Origin,
    backend: &str,
    if_match: IfMatch,
    command: C,
    message: &'static str,
) -> Result<Reply<Backend>, ApiError>
where
    C: Command<Aggregate = backend::Backend> + 'static,
{
    let backend_id = backend_id(backend)?;
    let not_found = || ApiError::not_found("backend");
    let version = |backend: &backend::Backend| backend.machine.as_ref().map(version_of_machine);
    let done = app
        .executor
        .execute(backend_id, origin, OnVersion { if_match, version, command })
        .await
        .map_err(|error| from_execute(error, |refused| refused.answer(|_| not_found())))?;
    let sequence = done.current.sequence;
    app.wait_until_projected::<Backends>(sequence).await;
    let machine = done.current.state.machine.as_ref().ok_or_else(not_found)?;
    let data = Backend::new(backend_id, machine, &app.heartbeats);
    let reply = Reply::ok(message, data).version(version_of_machine(machine), IfNoneMatch::default());
    Ok(reply.position(app.position(sequence)))
}
