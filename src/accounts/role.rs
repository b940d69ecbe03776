//! Gives an account a role. The account and the set of administrators change in one batch, so they always agree, and the
//! last administrator stays one whatever several replicas do at once (docs/adr/0019-one-set-of-administrators.md).

use std::sync::Arc;

use dockhost_domain::account::{self, ChangeRole, Role};
use dockhost_domain::administrators::{AddAdministrator, AdministratorsRejected, ChangedBy, RemoveAdministrator};
use dockhost_domain::envelope::Origin;
use dockhost_domain::ids::UserId;
use dockhost_domain::subject::AllAdministrators;

use crate::execute::{Batch, ExecuteError, Executor};

/// Why an account does not get a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleRejected {
    /// There is no such account, or it is disabled.
    #[error(transparent)]
    Account(#[from] account::RoleRejected),
    /// It is the last administrator, or whoever asks for it is none.
    #[error(transparent)]
    Administrators(#[from] AdministratorsRejected),
}

/// Gives an account a role; nothing if it has it. Returns the sequence of the change, or of the state that shows that there
/// is none.
///
/// # Errors
/// [`ExecuteError`].
pub async fn change_role(
    executor: &Arc<Executor>,
    user_id: UserId,
    to: Role,
    by: ChangedBy,
    origin: &Origin,
) -> Result<u64, ExecuteError<RoleRejected>> {
    executor.execute_batch(origin, |batch| decide(batch, user_id, to, by)).await
}

async fn decide(
    mut batch: Batch,
    user_id: UserId,
    to: Role,
    by: ChangedBy,
) -> Result<Batch, ExecuteError<RoleRejected>> {
    let administrators = match to {
        Role::Admin => batch.decide(AllAdministrators, &AddAdministrator { user_id, by }).await,
        Role::User => batch.decide(AllAdministrators, &RemoveAdministrator { user_id, by }).await,
    };
    administrators.map_err(|error| error.map(RoleRejected::from))?;
    batch.decide(user_id, &ChangeRole { to }).await.map_err(|error| error.map(RoleRejected::from))?;
    Ok(batch)
}
