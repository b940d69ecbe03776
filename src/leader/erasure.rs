//! The next step of an erasure that [`erase`](crate::accounts::erase) has begun.
//!
//! The next step is derived from the log, the read models and the keys each time, so an erasure can stop at any point
//! and resume. The reaction performs the steps; the command line only shows them. The key is destroyed last, when
//! nothing needs it any more and no read model shows what it opened.

use std::fmt;
use std::sync::Arc;

use dockhost_domain::account::Account;
use dockhost_domain::claim::{Claim, ClaimEvent};
use dockhost_domain::event::Event;
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::session::Sessions;
use dockhost_domain::subject::{AggregateId, ClaimKind};
use dockhost_domain::tenancy::Tenancy;
use dockhost_domain::wire::DesiredState;
use dockhost_projections::read_checkpoints;
use dockhost_projections::store::MongoStore;

use crate::broker::assignments::Assignments;
use crate::common::error::Cause;
use crate::execute::Executor;
use crate::sealing::Keyring;

/// The stores that an erasure reads and changes.
#[derive(Clone)]
pub struct ErasureProcess {
    /// Reads aggregates and appends events.
    pub executor: Arc<Executor>,
    /// The users' keys.
    pub keyring: Arc<Keyring>,
    /// The stream ASSIGNMENTS.
    pub assignments: Assignments,
    /// The checkpoints of the read models.
    pub store: MongoStore,
}

/// The next step of an erasure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// Close the sessions.
    Sessions,
    /// Close the tenancy to new instances.
    Tenancy,
    /// Delete the instances.
    Instances {
        /// Instances whose deletion is not requested yet.
        not_requested: Vec<InstanceId>,
        /// How many instances exist.
        remaining: usize,
    },
    /// Wait until no assignment contains personal data. A backend that does not answer still has one.
    Assignments,
    /// Wait until this read model has projected all of this.
    ReadModel(&'static str),
    /// Destroy the key.
    Key,
    /// Nothing; the user is erased.
    Nothing,
}

impl fmt::Display for NextStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sessions => f.write_str("the sessions to end"),
            Self::Tenancy => f.write_str("the instances to be closed to new ones"),
            Self::Instances { remaining: 1, .. } => f.write_str("1 instance to be deleted"),
            Self::Instances { remaining, .. } => write!(f, "{remaining} instances to be deleted"),
            Self::Assignments => f.write_str("the assignments to be cleared"),
            Self::ReadModel(model) => write!(f, "the read model {model} to catch up"),
            Self::Key => f.write_str("the key to be destroyed"),
            Self::Nothing => f.write_str("nothing"),
        }
    }
}

impl ErasureProcess {
    /// Finds a user by id, email address or username. A name without an owner finds its last owner if that one is erased.
    ///
    /// # Errors
    /// The log can't be read.
    pub async fn find(&self, user: &str) -> Result<Option<UserId>, Cause> {
        if let Ok(id) = user.parse::<UserId>() {
            let account = self.executor.confirmed::<Account>(id).await?.state;
            return Ok((account.erased || account.profile.is_some()).then_some(id));
        }
        let kind = if user.contains('@') { ClaimKind::Email } else { ClaimKind::Username };
        let claim = self.keyring.claim(kind, user);
        if let Some(holder) = self.executor.confirmed::<Claim>(claim).await?.state.owner {
            return Ok(Some(UserId::from_uuid(holder.uuid())));
        }
        let history = self.executor.log().load(AggregateId::Claim(claim), 0).await?;
        let Some(Event::Claim(ClaimEvent::Released(last))) = history.last().map(|last| &last.envelope.event) else {
            return Ok(None);
        };
        let id = UserId::from_uuid(last.owner.uuid());
        Ok(self.executor.confirmed::<Account>(id).await?.state.erased.then_some(id))
    }

    /// The next step for an erased user.
    ///
    /// # Errors
    /// The log, a read model or the keys can't be read.
    pub async fn next_step(&self, user_id: UserId) -> Result<NextStep, Cause> {
        let sessions = self.executor.confirmed::<Sessions>(user_id.into()).await?;
        if !sessions.state.is_closed() {
            return Ok(NextStep::Sessions);
        }
        let tenancy = self.executor.confirmed::<Tenancy>(user_id).await?;
        if !tenancy.state.is_closed() {
            return Ok(NextStep::Tenancy);
        }
        let remaining = tenancy.state.existing().count();
        if remaining > 0 {
            let not_requested =
                tenancy.state.existing().filter(|(_, instance)| instance.desired != DesiredState::Deleted);
            return Ok(NextStep::Instances { not_requested: not_requested.map(|(id, _)| id).collect(), remaining });
        }
        if self.has_personal_assignment(&tenancy.state).await? {
            return Ok(NextStep::Assignments);
        }
        let account = self.executor.confirmed::<Account>(user_id).await?;
        let sequences = [("account", account.sequence), ("tenancy", tenancy.sequence), ("session", sessions.sequence)];
        if let Some(model) = self.model_behind(&sequences).await? {
            return Ok(NextStep::ReadModel(model));
        }
        Ok(if self.keyring.has_key(user_id.into()).await? { NextStep::Key } else { NextStep::Nothing })
    }

    /// Whether an assignment of a backend that has yet to confirm a removal contains personal data.
    async fn has_personal_assignment(&self, tenancy: &Tenancy) -> Result<bool, Cause> {
        for (instance_id, instance) in tenancy.all() {
            for backend in instance.pending_removals.keys() {
                let current = self.assignments.current(*backend, instance_id).await?;
                if current.may_hold_personal_values() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// A read model that lacks events up to the sequence given for its kind of aggregate.
    async fn model_behind(&self, sequences: &[(&str, u64)]) -> Result<Option<&'static str>, Cause> {
        let incarnation = self.executor.log().incarnation();
        for (model, checkpoint) in read_checkpoints(&self.store).await? {
            let Some((_, needed)) = sequences.iter().find(|(kind, _)| *kind == model.kind) else { continue };
            if !checkpoint.is_some_and(|at| at.incarnation == *incarnation && at.sequence >= *needed) {
                return Ok(Some(model.name));
            }
        }
        Ok(None)
    }
}
