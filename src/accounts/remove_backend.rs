//! Removes a backend from the fleet, releases its name, and ends its sessions.

use std::sync::Arc;

use dockhost_domain::backend::{Backend, RemoveBackend, RemoveRejected};
use dockhost_domain::claim::ReleaseClaim;
use dockhost_domain::envelope::Origin;
use dockhost_domain::ids::BackendId;
use dockhost_domain::session::CloseSessions;
use dockhost_domain::subject::{ClaimId, ClaimKind};

use crate::execute::{Batch, ExecuteError, Executor};
use crate::sealing::Keyring;

/// Removes the backend, in one batch; nothing if it is removed. With `force` also if it could be given instances at this
/// moment. Returns the sequence of its last event, or of the state that shows that it is removed.
///
/// # Errors
/// [`ExecuteError`].
pub async fn remove_backend(
    executor: &Arc<Executor>,
    keyring: &Keyring,
    id: BackendId,
    force: bool,
    origin: &Origin,
) -> Result<u64, ExecuteError<RemoveRejected>> {
    let known = executor.state::<Backend>(id).await?;
    let username = known.state.machine.as_ref().and_then(|machine| machine.details.username.plain().cloned());
    let claim = username.map(|name| keyring.claim(ClaimKind::Backend, name.as_str()));
    executor.execute_batch(origin, |batch| decide(batch, id, force, claim)).await
}

async fn decide(
    mut batch: Batch,
    id: BackendId,
    force: bool,
    claim: Option<ClaimId>,
) -> Result<Batch, ExecuteError<RemoveRejected>> {
    batch.decide(id, &RemoveBackend { force }).await?;
    if let Some(claim) = claim {
        match batch.decide(claim, &ReleaseClaim { owner: id.into() }).await {
            // It was released, and another backend has it.
            Ok(()) | Err(ExecuteError::Rejected(_)) => {}
            Err(error) => return Err(error.map(|_| RemoveRejected::NotEnrolled)),
        }
    }
    batch.decide(id.into(), &CloseSessions).await.map_err(|error| error.map(|never| match never {}))?;
    Ok(batch)
}
