//! Disables and enables an account. The account, its sessions, its tenancy and the set of administrators change in one batch:
//! whatever several replicas do at once, a disabled account has no session, creates and resumes nothing, and is no
//! administrator's.

use std::sync::Arc;

use dockhost_domain::account::{DisableAccount, Disabled, EnableAccount, NoSuchAccount};
use dockhost_domain::administrators::{AdministratorsRejected, ChangedBy, RemoveAdministrator, RequireAdministrator};
use dockhost_domain::envelope::Origin;
use dockhost_domain::ids::UserId;
use dockhost_domain::session::{ResumeSessions, SuspendSessions};
use dockhost_domain::subject::AllAdministrators;
use dockhost_domain::tenancy::{ResumeTenancy, SuspendTenancy};

use crate::execute::{Batch, ExecuteError, Executor};

/// Why an account is neither disabled nor enabled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DisableRejected {
    /// There is no such account, or it was erased.
    #[error(transparent)]
    NoSuchAccount(#[from] NoSuchAccount),
    /// It is the last administrator, or whoever asks for it is none.
    #[error(transparent)]
    Administrators(#[from] AdministratorsRejected),
}

/// Disables an account; nothing if it is disabled in this way. Returns the sequence of the last event, or of the state that
/// shows that there is none.
///
/// # Errors
/// [`ExecuteError`].
pub async fn disable(
    executor: &Arc<Executor>,
    user_id: UserId,
    disabled: Disabled,
    by: ChangedBy,
    origin: &Origin,
) -> Result<u64, ExecuteError<DisableRejected>> {
    let (disable, remove) = (&DisableAccount(disabled), &RemoveAdministrator { user_id, by });
    let decide = |mut batch: Batch| async move {
        batch.decide(user_id, disable).await.map_err(|error| error.map(DisableRejected::from))?;
        batch.decide(AllAdministrators, remove).await.map_err(|error| error.map(DisableRejected::from))?;
        batch.decide(user_id.into(), &SuspendSessions).await.map_err(|error| error.map(|never| match never {}))?;
        batch.decide(user_id, &SuspendTenancy).await.map_err(|error| error.map(|never| match never {}))?;
        Ok::<_, ExecuteError<DisableRejected>>(batch)
    };
    executor.execute_batch(origin, decide).await
}

/// Enables an account; nothing if it is enabled. Returns the sequence of the last event, or of the state that shows that there
/// is none.
///
/// # Errors
/// [`ExecuteError`].
pub async fn enable(
    executor: &Arc<Executor>,
    user_id: UserId,
    by: ChangedBy,
    origin: &Origin,
) -> Result<u64, ExecuteError<DisableRejected>> {
    let decide = |mut batch: Batch| async move {
        batch.decide(user_id, &EnableAccount).await.map_err(|error| error.map(DisableRejected::from))?;
        // After the account: who was disabled meanwhile does not enable themselves.
        let require = RequireAdministrator(by);
        batch.decide(AllAdministrators, &require).await.map_err(|error| error.map(DisableRejected::from))?;
        batch.decide(user_id.into(), &ResumeSessions).await.map_err(|error| error.map(|never| match never {}))?;
        batch.decide(user_id, &ResumeTenancy).await.map_err(|error| error.map(|never| match never {}))?;
        Ok::<_, ExecuteError<DisableRejected>>(batch)
    };
    executor.execute_batch(origin, decide).await
}

#[cfg(test)]
mod tests {
    use dockhost_domain::account::DisabledInstances;
    use dockhost_domain::administrators::ChangedBy;
    use dockhost_domain::envelope::Actor;
    use futures::future::join_all;

    use super::*;
    use crate::accounts::create::create_administrator;
    use crate::accounts::create::tests::{new, origin, replicas};

    /// Each replica decides on a state in which the other administrator is still there.
    #[tokio::test]
    async fn administrators_who_disable_each_other_on_two_replicas_leave_one() {
        let (log, executors, keyring) = replicas(2).await;
        let mut ids = Vec::new();
        for name in ["ada", "eve"] {
            ids.push(create_administrator(&executors[0], &keyring, &new(name, false), &origin()).await.unwrap());
        }
        let disabling = [(0, 1), (1, 0)].map(|(by, whom)| {
            let (executor, by, whom) = (Arc::clone(&executors[by]), ids[by], ids[whom]);
            async move {
                let disabled = Disabled { reason: None, instances: DisabledInstances::Stop };
                let origin = Origin { actor: Actor::Admin(by), ..origin() };
                disable(&executor, whom, disabled, ChangedBy::Admin(by), &origin).await
            }
        });
        let outcomes = join_all(disabling).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        // Names, accounts and the set of two administrators; then account, set, sessions and tenancy.
        assert_eq!(log.events().len(), 6 + 4, "{:?}", log.events());
        let (by, whom) = if outcomes[0].is_ok() { (ids[0], ids[1]) } else { (ids[1], ids[0]) };
        // Nor does the disabled one enable themselves, with a request that was checked before.
        let again = enable(&executors[0], whom, ChangedBy::Admin(whom), &origin()).await;
        let refused = DisableRejected::Administrators(AdministratorsRejected::NotByAdministrator);
        assert!(matches!(again, Err(ExecuteError::Rejected(rejected)) if rejected == refused));
        let last = Disabled { reason: None, instances: DisabledInstances::Leave };
        let last = disable(&executors[0], by, last, ChangedBy::Admin(by), &origin()).await;
        let refused = DisableRejected::Administrators(AdministratorsRejected::Last);
        assert!(matches!(last, Err(ExecuteError::Rejected(rejected)) if rejected == refused));
        assert_eq!(log.events().len(), 6 + 4);
        enable(&executors[1], whom, ChangedBy::Admin(by), &origin()).await.unwrap();
        assert_eq!(log.events().len(), 6 + 4 + 3);
    }
}
