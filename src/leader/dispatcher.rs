//! The dispatcher: keeps ASSIGNMENTS as the instances want it. Level-triggered: an event or a report only says where
//! to look.
//!
//! In: cues. Out: assignments published or removed. For each cue it reads the assignment's last sequence first, then
//! the fresh state, and publishes under that expectation: whoever raced it has seen a state at least as new. What it
//! publishes is always the end state, so replaying the log publishes no history.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::event::Event;
use dockhost_domain::ids::{BackendId, InstanceId, UserId};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::event::{End, TenancyEvent};
use dockhost_domain::tenancy::{Tenancy, wanted};
use dockhost_domain::wire::{Assignment, Wanted};
use tokio_util::sync::CancellationToken;

use crate::broker::assignments::{Assignments, AssignmentsError, Standing};
use crate::common::error::chain;
use crate::event_log::jetstream::JetStreamLog;
use crate::event_log::{Cause, Filter, LogError};
use crate::execute::Executor;
use crate::leader::job_runner::{self, Reading};

/// How often everything is compared.
const SWEEP: Duration = Duration::from_secs(300);
/// How often a race is run again before the cue is left to the next one.
const TRIES: usize = 5;

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cue {
    /// Whose.
    pub user_id: UserId,
    /// Which instance.
    pub instance_id: InstanceId,
    /// What is known of single machines.
    pub machines: BTreeMap<BackendId, Hint>,
}

/// What is known of one machine in a cue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Something about it changed.
    Look,
    /// It has confirmed that nothing is left there.
    Empty,
    /// It holds a container of this placement that nobody wants.
    Leftover {
        /// The placement on the container's label.
        placement: u32,
    },
}

impl Cue {
    /// A cue about one machine.
    pub fn machine(user_id: UserId, instance_id: InstanceId, backend: BackendId, hint: Hint) -> Self {
        Self { user_id, instance_id, machines: BTreeMap::from([(backend, hint)]) }
    }

    /// What an event of a tenancy says; nothing if it is about no instance.
    pub fn of(user_id: UserId, event: &TenancyEvent) -> Option<Self> {
        let instance_id = event.instance_id()?;
        let machines = match event {
            TenancyEvent::Requested(e) => vec![(e.choice.backend_id, Hint::Look)],
            TenancyEvent::Placed(e) => vec![(e.after.backend_id, Hint::Look), (e.choice.backend_id, Hint::Look)],
            TenancyEvent::Failed(e) => vec![(e.setback.backend_id, Hint::Look)],
            TenancyEvent::Released(e) => vec![(e.backend_id, Hint::Empty)],
            TenancyEvent::Deleted(e) => match e.end {
                End::Confirmed { backend_id } => vec![(backend_id, Hint::Empty)],
                End::Abandoned { backend_id } => vec![(backend_id, Hint::Look)],
                End::Unplaced => vec![],
            },
            TenancyEvent::Observed(_)
            | TenancyEvent::StopRequested(_)
            | TenancyEvent::ResumeRequested(_)
            | TenancyEvent::DeleteRequested(_)
            | TenancyEvent::Closed(_) => vec![],
        };
        Some(Self { user_id, instance_id, machines: machines.into_iter().collect() })
    }
}

/// What to do with one subject.
#[derive(Debug, PartialEq, Eq)]
enum Deed {
    Nothing,
    Put(Assignment),
    Remove,
}

/// Compares what stands with what is wanted of one machine.
fn deed(standing: &Standing, wanted: Option<&Assignment>, hint: Hint, cue: &Cue) -> Deed {
    let gone = |placement, generation| {
        Deed::Put(Assignment {
            instance_id: cue.instance_id,
            user_id: cue.user_id,
            placement,
            generation,
            wanted: Wanted::Deleted,
            container: None,
        })
    };
    match (wanted, &standing.assignment, hint) {
        (Some(wanted), Some(standing), _) if standing == wanted => Deed::Nothing,
        (Some(wanted), _, _) => Deed::Put(wanted.clone()),
        (None, Some(_), Hint::Empty) => Deed::Remove,
        (None, Some(standing), _) if standing.wanted != Wanted::Deleted => {
            gone(standing.placement, standing.generation)
        }
        (None, Some(standing), Hint::Leftover { placement }) if standing.placement < placement => gone(placement, 0),
        (None, None, Hint::Leftover { placement }) => gone(placement, 0),
        // A `deleted` stands until the machine confirms it.
        (None, _, _) => Deed::Nothing,
    }
}

/// Why a cue could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// ASSIGNMENTS did not answer.
    #[error("the assignments can't be reached")]
    Assignments(#[from] AssignmentsError),
    /// The log did not answer.
    #[error("the state can't be read")]
    Log(#[from] LogError),
    /// Others were faster, again and again.
    #[error("the assignment is contended")]
    Contended,
}

/// The role.
pub struct Dispatcher {
    /// The log.
    pub log: Arc<JetStreamLog>,
    /// Knows the states.
    pub executor: Arc<Executor>,
    /// What it keeps.
    pub assignments: Assignments,
    /// When the stream ASSIGNMENTS was made: a new one is filled anew.
    pub incarnation: u64,
}

/// Under which name the broker keeps the dispatcher's place, when ASSIGNMENTS was made then.
#[must_use]
pub fn name(incarnation: u64) -> String {
    format!("dispatcher-{incarnation}")
}

impl Dispatcher {
    /// Follows the cues of events and of a slow sweep, until cancelled.
    ///
    /// # Errors
    /// When the broker can't be reached.
    pub async fn run(&self, cancel: CancellationToken) -> Result<(), Cause> {
        let name = name(self.incarnation);
        let filter = Filter::Kind("tenancy");
        let events = job_runner::events(
            Reading { role: "dispatcher", name: &name, filter, linger: Duration::ZERO },
            &self.log,
            &cancel,
            |recorded| match (&recorded.envelope.aggregate, &recorded.envelope.event) {
                (AggregateId::Tenancy(user), Event::Tenancy(event)) => {
                    Cue::of(*user, event).map(|cue| ((*user, cue.instance_id), cue))
                }
                _ => None,
            },
            |cue, newer| cue.machines.extend(newer.machines),
            |cue| self.step(cue),
        );
        let sweeps = async {
            let mut sweep = tokio::time::interval(SWEEP);
            while cancel.run_until_cancelled(sweep.tick()).await.is_some() {
                self.sweep().await?;
            }
            Ok(())
        };
        tokio::try_join!(async { events.await.map_err(Cause::from) }, sweeps)?;
        Ok(())
    }

    async fn step(&self, cue: Cue) -> Result<(), Cause> {
        Ok(self.follow(&cue).await?)
    }

    /// Follows a cue of the sweep: what fails is left to the next one.
    async fn attend(&self, cue: &Cue) {
        if let Err(error) = self.follow(cue).await {
            tracing::warn!(instance = %cue.instance_id, error = chain(&error), "a cue could not be followed");
        }
    }

    /// Compares all that stands with what is wanted.
    async fn sweep(&self) -> Result<(), Cause> {
        for (backend, instance) in self.assignments.all().await? {
            if let Some(assignment) = self.assignments.standing(backend, instance).await?.assignment {
                self.attend(&Cue::machine(assignment.user_id, instance, backend, Hint::Look)).await;
            }
        }
        Ok(())
    }

    /// Follows one cue to its end.
    ///
    /// # Errors
    /// See [`DispatchError`]; the cue must be followed again.
    pub async fn follow(&self, cue: &Cue) -> Result<(), DispatchError> {
        for _ in 0..TRIES {
            if self.attempt(cue).await? {
                return Ok(());
            }
        }
        Err(DispatchError::Contended)
    }

    /// One attempt; `false` if the state or an assignment moved on meanwhile.
    async fn attempt(&self, cue: &Cue) -> Result<bool, DispatchError> {
        let cached = self.executor.state::<Tenancy>(cue.user_id).await?;
        let mut standing = BTreeMap::new();
        let machines: BTreeSet<_> =
            cue.machines.keys().copied().chain(wishes(&cached.state, cue).into_keys()).collect();
        for backend in machines {
            standing.insert(backend, self.assignments.standing(backend, cue.instance_id).await?);
        }
        // Read after the sequences: an assignment put under them comes from a state at least as new as theirs.
        let fresh = self.executor.confirmed::<Tenancy>(cue.user_id).await?;
        let wishes = wishes(&fresh.state, cue);
        if wishes.keys().any(|backend| !standing.contains_key(backend)) {
            return Ok(false);
        }
        for (backend, standing) in standing {
            let hint = cue.machines.get(&backend).copied().unwrap_or(Hint::Look);
            let stands = match deed(&standing, wishes.get(&backend), hint, cue) {
                Deed::Nothing => true,
                Deed::Put(assignment) => self.assignments.replace(backend, &assignment, &standing).await?,
                Deed::Remove => {
                    self.assignments.remove(standing.sequence).await?;
                    true
                }
            };
            if !stands {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn wishes(state: &Tenancy, cue: &Cue) -> BTreeMap<BackendId, Assignment> {
    state.instance(cue.instance_id).map(|instance| wanted(cue.user_id, cue.instance_id, instance)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
