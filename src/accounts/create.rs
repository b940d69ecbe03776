//! Creates the account of an administrator for the operator. Its names, the account and its place in the set of
//! administrators are one batch.

use std::sync::Arc;

use dockhost_domain::account::{AccountExists, CreateAccount, Created, Role};
use dockhost_domain::administrators::{
    AddAdministrator, AddFirstAdministrator, AdministratorsRejected, ChangedBy, HasAdministrators,
};
use dockhost_domain::claim::{AlreadyClaimed, TakeClaim};
use dockhost_domain::envelope::Origin;
use dockhost_domain::ids::UserId;
use dockhost_domain::names::Username;
use dockhost_domain::subject::{AllAdministrators, ClaimKind};

use crate::common::clock;
use crate::execute::{Batch, ExecuteError, Executor};
use crate::sealing::Keyring;

/// An administrator whose account does not exist yet.
#[derive(Debug, Clone)]
pub struct NewAdministrator {
    /// The name; one that is reserved at sign-up is allowed.
    pub username: Username,
    /// The email address, if there is one.
    pub email: Option<String>,
    /// The verifier of the password.
    pub password_verifier: String,
    /// Whether to create it only if there is no administrator.
    pub only_as_the_first: bool,
}

/// Why the account is not created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateRejected {
    /// The username belongs to someone.
    #[error("the username is taken")]
    UsernameTaken,
    /// The email address belongs to someone.
    #[error("the email address is taken")]
    EmailTaken,
    /// It would not be the first administrator.
    #[error(transparent)]
    HasAdministrators(#[from] HasAdministrators),
    /// The operator may always add one, so this is a bug.
    #[error(transparent)]
    Administrators(#[from] AdministratorsRejected),
    /// The new id is in use; ids are random, so this is a bug.
    #[error(transparent)]
    Exists(#[from] AccountExists),
}

/// Creates the account; returns its id.
///
/// # Errors
/// [`ExecuteError`].
pub async fn create_administrator(
    executor: &Arc<Executor>,
    keyring: &Keyring,
    new: &NewAdministrator,
    origin: &Origin,
) -> Result<UserId, ExecuteError<CreateRejected>> {
    let user_id = UserId::from_uuid(clock::fresh_uuid());
    executor.execute_batch(origin, |batch| decide(batch, keyring, user_id, new)).await?;
    Ok(user_id)
}

async fn decide(
    mut batch: Batch,
    keyring: &Keyring,
    user_id: UserId,
    new: &NewAdministrator,
) -> Result<Batch, ExecuteError<CreateRejected>> {
    if new.only_as_the_first {
        let add = AddFirstAdministrator(user_id);
        batch.decide(AllAdministrators, &add).await.map_err(|error| error.map(CreateRejected::from))?;
    } else {
        let add = AddAdministrator { user_id, by: ChangedBy::Operator };
        batch.decide(AllAdministrators, &add).await.map_err(|error| error.map(CreateRejected::from))?;
    }
    let take = TakeClaim { owner: user_id.into() };
    let by_name = keyring.claim(ClaimKind::Username, new.username.as_str());
    batch.decide(by_name, &take).await.map_err(|error| error.map(|AlreadyClaimed| CreateRejected::UsernameTaken))?;
    if let Some(email) = &new.email {
        let by_email = keyring.claim(ClaimKind::Email, email);
        batch.decide(by_email, &take).await.map_err(|error| error.map(|AlreadyClaimed| CreateRejected::EmailTaken))?;
    }
    let create = CreateAccount(Created {
        username: new.username.clone().into(),
        email: new.email.clone().unwrap_or_default().into(),
        password_verifier: new.password_verifier.clone().into(),
        ssh_public_key: None,
        role: Role::Admin,
        group_id: None,
    });
    batch.decide(user_id, &create).await.map_err(|error| error.map(CreateRejected::from))?;
    Ok(batch)
}

#[cfg(test)]
pub(super) mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use dockhost_domain::account::Account;
    use dockhost_domain::envelope::Actor;
    use futures::future::join_all;

    use super::*;
    use crate::accounts::role::{RoleRejected, change_role};
    use crate::event_log::EventLog;
    use crate::event_log::memory::MemoryLog;
    use crate::sealing::{LogAge, MemoryKeyStore};

    /// A log, replicas on it that do not follow it, and the keys.
    pub(in crate::accounts) async fn replicas(count: usize) -> (Arc<MemoryLog>, Vec<Arc<Executor>>, Keyring) {
        let log = Arc::new(MemoryLog::default());
        let executors = (0..count).map(|_| Executor::new(Arc::clone(&log) as Arc<dyn EventLog>)).collect();
        let master_key = STANDARD.encode([7; 32]).parse().unwrap();
        let keyring = Keyring::open(Arc::new(MemoryKeyStore::default()), master_key, LogAge::Empty).await.unwrap();
        (log, executors, keyring)
    }

    pub(in crate::accounts) fn origin() -> Origin {
        Origin::new(Actor::Operator, "test")
    }

    pub(in crate::accounts) fn new(name: &str, only_as_the_first: bool) -> NewAdministrator {
        NewAdministrator {
            username: name.parse().unwrap(),
            email: None,
            password_verifier: "none".to_owned(),
            only_as_the_first,
        }
    }

    /// As when several replicas start for the first time with the same configuration.
    #[tokio::test]
    async fn first_administrator_of_several_replicas_at_once_is_created_once() {
        let (log, executors, keyring) = replicas(4).await;
        let (admin, origin) = (new("boss", true), origin());
        let creating = executors.iter().map(|executor| create_administrator(executor, &keyring, &admin, &origin));
        let outcomes = join_all(creating).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{:?}", log.events());
        for outcome in outcomes.into_iter().filter_map(Result::err) {
            let rejected = ExecuteError::Rejected(CreateRejected::HasAdministrators(HasAdministrators));
            assert_eq!(outcome.to_string(), rejected.to_string());
        }
        // The set of administrators, the name and the account.
        assert_eq!(log.events().len(), 3);
        let later = create_administrator(&executors[0], &keyring, &new("chief", true), &origin).await;
        assert!(matches!(later, Err(ExecuteError::Rejected(CreateRejected::HasAdministrators(_)))));
    }

    #[tokio::test]
    async fn administrator_with_a_taken_name_is_not_created() {
        let (log, executors, keyring) = replicas(1).await;
        let with_email = NewAdministrator { email: Some("boss@example.org".to_owned()), ..new("boss", false) };
        create_administrator(&executors[0], &keyring, &with_email, &origin()).await.unwrap();
        let events = log.events().len();
        let again = create_administrator(&executors[0], &keyring, &new("boss", false), &origin()).await;
        assert!(matches!(again, Err(ExecuteError::Rejected(CreateRejected::UsernameTaken))));
        let other = NewAdministrator { username: "chief".parse().unwrap(), ..with_email };
        let same_email = create_administrator(&executors[0], &keyring, &other, &origin()).await;
        assert!(matches!(same_email, Err(ExecuteError::Rejected(CreateRejected::EmailTaken))));
        assert_eq!(log.events().len(), events);
    }

    /// Each replica decides on a state in which the other administrator is still there.
    #[tokio::test]
    async fn administrators_who_take_the_role_from_each_other_on_two_replicas_leave_one() {
        let (_, executors, keyring) = replicas(2).await;
        let origin = origin();
        let mut ids = Vec::new();
        for name in ["ada", "eve"] {
            ids.push(create_administrator(&executors[0], &keyring, &new(name, false), &origin).await.unwrap());
        }
        let taken = [(&executors[0], ids[1]), (&executors[1], ids[0])];
        let by = |user| ChangedBy::Admin(if user == ids[0] { ids[1] } else { ids[0] });
        let taking = taken.map(|(executor, user)| change_role(executor, user, Role::User, by(user), &origin));
        let outcomes = join_all(taking).await;
        let refused = |outcome: &Result<u64, ExecuteError<RoleRejected>>| {
            matches!(
                outcome,
                Err(ExecuteError::Rejected(RoleRejected::Administrators(AdministratorsRejected::NotByAdministrator)))
            )
        };
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|outcome| refused(outcome)).count(), 1, "{outcomes:?}");
        let mut admins = 0;
        for id in ids {
            admins += usize::from(executors[0].confirmed::<Account>(id).await.unwrap().state.is_admin());
        }
        assert_eq!(admins, 1);
    }
}
