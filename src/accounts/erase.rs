//! Begins the erasure of a user, for the operator, for themselves or for an administrator: the account is erased, its names are free,
//! and an administrator is none any more. Reactions do the rest (`leader::erasure`).

use std::sync::Arc;

use dockhost_domain::account::{Account, email_address};
use dockhost_domain::administrators::{AdministratorsRejected, ChangedBy, RemoveAdministrator};
use dockhost_domain::aggregate::Command;
use dockhost_domain::claim::ReleaseClaim;
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::UserId;
use dockhost_domain::subject::{AllAdministrators, ClaimKind};

use crate::execute::{Batch, ExecuteError, Executor};
use crate::sealing::Keyring;

/// Why an erasure does not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EraseRejected<R> {
    /// The account can't be erased.
    #[error(transparent)]
    Account(R),
    /// Nobody else is an administrator, or the one who asks for it is none any more.
    #[error(transparent)]
    Administrators(AdministratorsRejected),
}

/// Begins the erasure that a command decides ([`EraseAccount`](dockhost_domain::account::EraseAccount), or that on a condition),
/// on behalf of the actor of `origin`, in one batch; nothing if it has begun. Returns the sequence of its last event, or of the
/// state that shows that it has begun.
///
/// # Errors
/// [`ExecuteError`].
pub async fn erase<C: Command<Aggregate = Account>>(
    executor: &Arc<Executor>,
    keyring: &Keyring,
    user_id: UserId,
    command: &C,
    origin: &Origin,
) -> Result<u64, ExecuteError<EraseRejected<C::Rejection>>> {
    let decide = |batch| decide(executor, keyring, batch, user_id, command, origin.actor);
    let sequence = executor.execute_batch(origin, decide).await?;
    keyring.mark_erased(user_id.into());
    Ok(sequence)
}

async fn decide<C: Command<Aggregate = Account>>(
    executor: &Arc<Executor>,
    keyring: &Keyring,
    mut batch: Batch,
    user_id: UserId,
    command: &C,
    actor: Actor,
) -> Result<Batch, ExecuteError<EraseRejected<C::Rejection>>> {
    let remover = match actor {
        Actor::Admin(admin) => Some(ChangedBy::Admin(admin)),
        Actor::Anonymous | Actor::User(_) | Actor::Backend(_) | Actor::Operator | Actor::System => None,
    };
    let account = executor.confirmed::<Account>(user_id).await?.state;
    batch.decide(user_id, command).await.map_err(|error| error.map(EraseRejected::Account))?;
    // An administrator must still be one when the erasure is stored. Whoever else may erase the account may also take its role;
    // only the last administrator stays.
    if account.is_admin() || remover.is_some() {
        let remove = RemoveAdministrator { user_id, by: remover.unwrap_or(ChangedBy::Operator) };
        let removed = batch.decide(AllAdministrators, &remove).await;
        removed.map_err(|error| error.map(EraseRejected::Administrators))?;
    }
    let Some(profile) = &account.profile else { return Ok(batch) };
    let username = profile.details.username.plain().map(|name| keyring.claim(ClaimKind::Username, name.as_str()));
    let email = email_address(&profile.details.email);
    for claim in username.into_iter().chain(email.map(|email| keyring.claim(ClaimKind::Email, email))) {
        // A name that another user owns is not released.
        let released = batch.decide(claim, &ReleaseClaim { owner: user_id.into() }).await;
        released.or_else(ExecuteError::unless_rejected)?;
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use dockhost_domain::account::{EraseAccount, ErasedBy, NoSuchAccount};
    use futures::future::join_all;

    use super::*;
    use crate::accounts::create::create_administrator;
    use crate::accounts::create::tests::{new, origin, replicas};

    const BY_ADMIN: EraseAccount = EraseAccount { by: ErasedBy::Admin };

    fn is_refused(outcome: &Result<u64, ExecuteError<EraseRejected<NoSuchAccount>>>) -> bool {
        let Err(ExecuteError::Rejected(rejected)) = outcome else { return false };
        *rejected == EraseRejected::Administrators(AdministratorsRejected::NotByAdministrator)
    }

    /// Each replica decides on a state in which the other administrator is still there.
    #[tokio::test]
    async fn administrators_who_erase_each_other_on_two_replicas_leave_one() {
        let (log, executors, keyring) = replicas(2).await;
        let mut ids = Vec::new();
        for name in ["ada", "eve"] {
            ids.push(create_administrator(&executors[0], &keyring, &new(name, false), &origin()).await.unwrap());
        }
        let before = log.events().len();
        let origins = [0, 1].map(|by: usize| Origin { actor: Actor::Admin(ids[by]), ..origin() });
        let erasing = [0, 1].map(|by: usize| erase(&executors[by], &keyring, ids[1 - by], &BY_ADMIN, &origins[by]));
        let outcomes = join_all(erasing).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        assert!(outcomes.iter().any(is_refused), "{outcomes:?}");
        // The account, the set of administrators, and the name.
        assert_eq!(log.events().len(), before + 3);
        let (by, whom) = if outcomes[0].is_ok() { (0, 1) } else { (1, 0) };
        let again = erase(&executors[whom], &keyring, ids[by], &BY_ADMIN, &origins[whom]).await;
        assert!(is_refused(&again), "{again:?}");
        assert_eq!(log.events().len(), before + 3);
    }
}
