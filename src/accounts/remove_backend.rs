//! Removes a backend from the fleet, releases its name, and ends its sessions.

use std::sync::Arc;

use dockhost_domain::aggregate::Command;
use dockhost_domain::backend::Backend;
use dockhost_domain::claim::ReleaseClaim;
use dockhost_domain::envelope::Origin;
use dockhost_domain::ids::BackendId;
use dockhost_domain::session::CloseSessions;
use dockhost_domain::subject::{ClaimId, ClaimKind};

use crate::execute::{Batch, ExecuteError, Executor};
use crate::sealing::Keyring;

/// Removes the backend as a command decides ([`RemoveBackend`](dockhost_domain::backend::RemoveBackend), or that on a condition),
/// in one batch; nothing if it is removed. Returns the sequence of its last event, or of the state that shows that it is removed.
///
/// # Errors
/// [`ExecuteError`].
pub async fn remove_backend<C: Command<Aggregate = Backend>>(
    executor: &Arc<Executor>,
    keyring: &Keyring,
    id: BackendId,
    command: &C,
    origin: &Origin,
) -> Result<u64, ExecuteError<C::Rejection>> {
    let known = executor.state::<Backend>(id).await?;
    let username = known.state.machine.as_ref().and_then(|machine| machine.details.username.plain().cloned());
    let claim = username.map(|name| keyring.claim(ClaimKind::Backend, name.as_str()));
    executor.execute_batch(origin, |batch| decide(batch, id, command, claim)).await
}

async fn decide<C: Command<Aggregate = Backend>>(
    mut batch: Batch,
    id: BackendId,
    command: &C,
    claim: Option<ClaimId>,
) -> Result<Batch, ExecuteError<C::Rejection>> {
    batch.decide(id, command).await?;
    if let Some(claim) = claim {
        // It may have been released, and another backend has it.
        let released = batch.decide(claim, &ReleaseClaim { owner: id.into() }).await;
        released.or_else(ExecuteError::unless_rejected)?;
    }
    batch.decide(id.into(), &CloseSessions).await.map_err(|error| error.map(|never| match never {}))?;
    Ok(batch)
}
