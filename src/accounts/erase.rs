//! Begins the erasure of a user: the account is erased, its names are free, and an administrator is none any more. Reactions do
//! the rest (`leader::erasure`).

use std::sync::Arc;

use dockhost_domain::account::{Account, EraseAccount, ErasedBy, NoSuchAccount, email_address};
use dockhost_domain::administrators::{AdministratorsRejected, ChangedBy, RemoveAdministrator};
use dockhost_domain::claim::ReleaseClaim;
use dockhost_domain::envelope::Origin;
use dockhost_domain::ids::UserId;
use dockhost_domain::subject::{AllAdministrators, ClaimKind};

use crate::execute::{Batch, ExecuteError, Executor};
use crate::sealing::Keyring;

/// Why an erasure does not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EraseRejected {
    /// No account has this id.
    #[error("there is no such user")]
    NoSuchUser,
    /// Nobody else is an administrator.
    #[error(transparent)]
    Administrators(#[from] AdministratorsRejected),
}

/// Begins the erasure, in one batch; nothing if it has begun. Returns the sequence of its last event, or of the state that shows
/// that it has begun.
///
/// # Errors
/// [`ExecuteError`].
pub async fn erase(
    executor: &Arc<Executor>,
    keyring: &Keyring,
    user_id: UserId,
    by: ErasedBy,
    origin: &Origin,
) -> Result<u64, ExecuteError<EraseRejected>> {
    let sequence = executor.execute_batch(origin, |batch| decide(executor, keyring, batch, user_id, by)).await?;
    keyring.mark_erased(user_id.into());
    Ok(sequence)
}

async fn decide(
    executor: &Arc<Executor>,
    keyring: &Keyring,
    mut batch: Batch,
    user_id: UserId,
    by: ErasedBy,
) -> Result<Batch, ExecuteError<EraseRejected>> {
    let account = executor.confirmed::<Account>(user_id).await?.state;
    let no_such_user = |NoSuchAccount| EraseRejected::NoSuchUser;
    batch.decide(user_id, &EraseAccount { by }).await.map_err(|error| error.map(no_such_user))?;
    if account.is_admin() {
        // Whoever may erase the account may also take its role; only the last administrator stays.
        let remove = RemoveAdministrator { user_id, by: ChangedBy::Operator };
        batch.decide(AllAdministrators, &remove).await.map_err(|error| error.map(EraseRejected::from))?;
    }
    let Some(profile) = &account.profile else { return Ok(batch) };
    let username = profile.details.username.plain().map(|name| keyring.claim(ClaimKind::Username, name.as_str()));
    let email = email_address(&profile.details.email);
    for claim in username.into_iter().chain(email.map(|email| keyring.claim(ClaimKind::Email, email))) {
        match batch.decide(claim, &ReleaseClaim { owner: user_id.into() }).await {
            // A name that another user owns is not released.
            Ok(()) | Err(ExecuteError::Rejected(_)) => {}
            Err(error) => return Err(error.map(|_| EraseRejected::NoSuchUser)),
        }
    }
    Ok(batch)
}
