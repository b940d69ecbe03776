//! Erasing a person: the first step, and what is still due after it.
//!
//! In: a user. Out: one atomic batch that says so in the log and frees their names; and, at any moment after it, the
//! next thing to be done, read off the log, the read models and the keys. The reaction does these things, the command
//! line only looks: neither keeps a note of its own, so both may stop anywhere and take up where it stands. The order is
//! what counts: the key goes last, when nothing is left that would need it or show what it opened.

use std::fmt;
use std::sync::Arc;

use dockhost_domain::account::{Account, EraseAccount, ErasedBy};
use dockhost_domain::claim::{Claim, ClaimEvent, ReleaseClaim};
use dockhost_domain::envelope::Origin;
use dockhost_domain::event::Event;
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::session::Sessions;
use dockhost_domain::subject::{AggregateId, ClaimKind};
use dockhost_domain::tenancy::Tenancy;
use dockhost_domain::wire::Wanted;
use dockhost_projections::ReadModel;
use dockhost_projections::instances::Instances;
use dockhost_projections::sessions::Sessions as SessionModel;
use dockhost_projections::store::MongoStore;
use dockhost_projections::users::Users;

use crate::broker::assignments::Assignments;
use crate::common::error::Cause;
use crate::event_log::AppendError;
use crate::execute::{ExecuteError, Executor};
use crate::sealing::Keyring;

/// How often the batch is decided anew after a conflict: its user may be busy meanwhile.
const MAX_BATCH_ATTEMPTS: usize = 50;

/// What knows how far an erasure is.
#[derive(Clone)]
pub struct ErasureProcess {
    /// Knows the log.
    pub executor: Arc<Executor>,
    /// Knows the keys.
    pub keyring: Arc<Keyring>,
    /// Knows what the machines are told.
    pub assignments: Assignments,
    /// Knows how far the read models are.
    pub store: MongoStore,
}

/// The next thing to be done for an erased user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// Their sessions must end.
    Sessions,
    /// No instance may begin any more.
    Tenancy,
    /// Their instances must go.
    Instances {
        /// Those that nobody has asked to go yet.
        unasked: Vec<InstanceId>,
        /// How many there are.
        left: usize,
    },
    /// A machine that does not answer must be told that an instance is gone, in place of what it was told before.
    Assignments,
    /// This read model must have passed all of that.
    ReadModel(&'static str),
    /// Their key must be destroyed.
    Key,
    /// Nothing: they are erased.
    Nothing,
}

impl fmt::Display for NextStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sessions => f.write_str("the sessions to end"),
            Self::Tenancy => f.write_str("the instances to be closed to new ones"),
            Self::Instances { left: 1, .. } => f.write_str("1 instance to be deleted"),
            Self::Instances { left, .. } => write!(f, "{left} instances to be deleted"),
            Self::Assignments => f.write_str("the assignments to be cleared"),
            Self::ReadModel(model) => write!(f, "the read model {model} to catch up"),
            Self::Key => f.write_str("the key to be destroyed"),
            Self::Nothing => f.write_str("nothing"),
        }
    }
}

/// Why an erasure did not begin.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// Nobody has this account.
    #[error("there is no such user")]
    NoSuchUser,
    /// The user's own commands were faster each time. Nothing was stored.
    #[error("the account is too busy now; try again")]
    Busy,
    /// The log could not be read or written.
    #[error(transparent)]
    Log(Cause),
}

fn log<E: Into<Cause>>(error: E) -> EraseError {
    EraseError::Log(error.into())
}

impl ErasureProcess {
    /// Whom somebody means by an id, an email address or a username: its holder, or the last one who held it if they were
    /// erased.
    ///
    /// # Errors
    /// The log can't be read.
    pub async fn find(&self, who: &str) -> Result<Option<UserId>, Cause> {
        if let Ok(id) = who.parse::<UserId>() {
            let account = self.executor.confirmed::<Account>(id).await?.state;
            return Ok((account.erased || account.profile.is_some()).then_some(id));
        }
        let kind = if who.contains('@') { ClaimKind::Email } else { ClaimKind::Username };
        let claim = self.keyring.claim(kind, who);
        if let Some(holder) = self.executor.confirmed::<Claim>(claim).await?.state.holder {
            return Ok(Some(UserId::from_uuid(holder.uuid())));
        }
        let past = self.executor.log().load(AggregateId::Claim(claim), 0).await?;
        let Some(Event::Claim(ClaimEvent::Released(last))) = past.last().map(|last| &last.envelope.event) else {
            return Ok(None);
        };
        let id = UserId::from_uuid(last.owner.uuid());
        Ok(self.executor.confirmed::<Account>(id).await?.state.erased.then_some(id))
    }

    /// Says in the log that this user is erased, and frees their names: all or nothing. Does nothing if it was said before.
    ///
    /// # Errors
    /// [`EraseError`].
    pub async fn begin(&self, user_id: UserId, by: ErasedBy, origin: &Origin) -> Result<(), EraseError> {
        for _ in 0..MAX_BATCH_ATTEMPTS {
            let account = self.executor.confirmed::<Account>(user_id).await.map_err(log)?.state;
            if account.erased {
                return Ok(());
            }
            let details = &account.profile.as_ref().ok_or(EraseError::NoSuchUser)?.details;
            let username = details.username.plain().map(|name| self.keyring.claim(ClaimKind::Username, name.as_str()));
            let email = details.email.plain().map(|email| self.keyring.claim(ClaimKind::Email, email));
            let mut batch = self.executor.batch(origin.clone());
            match batch.decide(user_id, &EraseAccount { by }).await {
                Ok(()) => {}
                Err(ExecuteError::Rejected(_)) => return Err(EraseError::NoSuchUser),
                Err(error) => return Err(log(error)),
            }
            for claim in username.into_iter().chain(email) {
                match batch.decide(claim, &ReleaseClaim { owner: user_id.into() }).await {
                    // What another holds is not this user's to give up.
                    Ok(()) | Err(ExecuteError::Rejected(_)) => {}
                    Err(error) => return Err(log(error)),
                }
            }
            match batch.commit().await {
                Ok(_) => {
                    self.keyring.mark_erased(user_id.into());
                    return Ok(());
                }
                Err(AppendError::Conflict) => {}
                Err(error) => return Err(log(error)),
            }
        }
        Err(EraseError::Busy)
    }

    /// What is to be done next for an erased user, as the log, the read models and the keys have it now.
    ///
    /// # Errors
    /// One of them can't be asked.
    pub async fn next_step(&self, user_id: UserId) -> Result<NextStep, Cause> {
        let sessions = self.executor.confirmed::<Sessions>(user_id.into()).await?;
        if !sessions.state.is_closed() {
            return Ok(NextStep::Sessions);
        }
        let tenancy = self.executor.confirmed::<Tenancy>(user_id).await?;
        if !tenancy.state.is_closed() {
            return Ok(NextStep::Tenancy);
        }
        let left = tenancy.state.existing().count();
        if left > 0 {
            let unasked = tenancy.state.existing().filter(|(_, instance)| instance.wanted != Wanted::Deleted);
            return Ok(NextStep::Instances { unasked: unasked.map(|(id, _)| id).collect(), left });
        }
        if self.has_personal_assignment(&tenancy.state).await? {
            return Ok(NextStep::Assignments);
        }
        let account = self.executor.confirmed::<Account>(user_id).await?;
        for (model, reached) in [
            (Users::NAME, self.has_projected::<Users>(account.sequence).await?),
            (Instances::NAME, self.has_projected::<Instances>(tenancy.sequence).await?),
            (SessionModel::NAME, self.has_projected::<SessionModel>(sessions.sequence).await?),
        ] {
            if !reached {
                return Ok(NextStep::ReadModel(model));
            }
        }
        Ok(if self.keyring.has_key(user_id.into()).await? { NextStep::Key } else { NextStep::Nothing })
    }

    /// Whether a machine that may still hold something is told more than that it is to go.
    async fn has_personal_assignment(&self, tenancy: &Tenancy) -> Result<bool, Cause> {
        for (instance_id, instance) in tenancy.all() {
            for backend in instance.retired.keys() {
                let current = self.assignments.current(*backend, instance_id).await?;
                if current.may_hold_personal_values() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn has_projected<M: ReadModel>(&self, sequence: u64) -> Result<bool, Cause> {
        let incarnation = self.executor.log().incarnation();
        let checkpoint = self.store.checkpoint::<M>().await?;
        Ok(checkpoint.is_some_and(|at| at.incarnation == *incarnation && at.sequence >= sequence))
    }
}
