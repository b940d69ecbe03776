//! The dispatcher: keeps ASSIGNMENTS as the instances want it. Level-triggered: an event or a report only says where
//! to look.
//!
//! In: work items. Out: assignments published or removed. For each item it reads the assignment's last sequence first, then
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

use crate::broker::assignments::{Assignments, AssignmentsError, CurrentAssignment};
use crate::common::error::Cause;
use crate::common::error::chain;
use crate::event_log::jetstream::JetStreamLog;
use crate::event_log::{Filter, LogError};
use crate::execute::Executor;
use crate::leader::job_runner::{self, EventSource};

/// How often everything is compared.
const SWEEP_INTERVAL: Duration = Duration::from_secs(300);
/// How often a race is run again before the item is left to the next one.
const MAX_ATTEMPTS: usize = 5;

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkItem {
    /// Whose.
    pub user_id: UserId,
    /// Which instance.
    pub instance_id: InstanceId,
    /// What is known of single backends.
    pub backends: BTreeMap<BackendId, Trigger>,
}

/// What is known of one machine in a work item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Something about it changed.
    Changed,
    /// It has confirmed that nothing is left there.
    Confirmed,
    /// It holds a container of this placement that nobody wants.
    Leftover {
        /// The placement on the container's label.
        placement: u32,
    },
}

impl WorkItem {
    /// A work item about one machine.
    pub fn for_backend(user_id: UserId, instance_id: InstanceId, backend: BackendId, trigger: Trigger) -> Self {
        Self { user_id, instance_id, backends: BTreeMap::from([(backend, trigger)]) }
    }

    /// What an event of a tenancy says; nothing if it is about no instance.
    pub fn from_event(user_id: UserId, event: &TenancyEvent) -> Option<Self> {
        let instance_id = event.instance_id()?;
        let backends = match event {
            TenancyEvent::Requested(e) => vec![(e.choice.backend_id, Trigger::Changed)],
            TenancyEvent::Placed(e) => {
                vec![(e.after.backend_id, Trigger::Changed), (e.choice.backend_id, Trigger::Changed)]
            }
            TenancyEvent::Failed(e) => vec![(e.setback.backend_id, Trigger::Changed)],
            TenancyEvent::Released(e) => vec![(e.backend_id, Trigger::Confirmed)],
            TenancyEvent::Deleted(e) => match e.end {
                End::Confirmed { backend_id } => vec![(backend_id, Trigger::Confirmed)],
                End::Abandoned { backend_id } => vec![(backend_id, Trigger::Changed)],
                End::Unplaced => vec![],
            },
            TenancyEvent::Observed(_)
            | TenancyEvent::StopRequested(_)
            | TenancyEvent::ResumeRequested(_)
            | TenancyEvent::DeleteRequested(_)
            | TenancyEvent::Closed(_) => vec![],
        };
        Some(Self { user_id, instance_id, backends: backends.into_iter().collect() })
    }
}

/// What to do with one subject.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    Nothing,
    Put(Assignment),
    Remove,
}

/// Compares what stands with what is wanted of one machine.
fn plan(standing: &CurrentAssignment, wanted: Option<&Assignment>, trigger: Trigger, item: &WorkItem) -> Action {
    let gone = |placement, generation| {
        Action::Put(Assignment {
            instance_id: item.instance_id,
            user_id: item.user_id,
            placement,
            generation,
            wanted: Wanted::Deleted,
            container: None,
        })
    };
    match (wanted, &standing.assignment, trigger) {
        (Some(wanted), Some(standing), _) if standing == wanted => Action::Nothing,
        (Some(wanted), _, _) => Action::Put(wanted.clone()),
        (None, Some(_), Trigger::Confirmed) => Action::Remove,
        (None, Some(standing), _) if standing.wanted != Wanted::Deleted => {
            gone(standing.placement, standing.generation)
        }
        (None, Some(standing), Trigger::Leftover { placement }) if standing.placement < placement => gone(placement, 0),
        (None, None, Trigger::Leftover { placement }) => gone(placement, 0),
        // A `deleted` stands until the machine confirms it.
        (None, _, _) => Action::Nothing,
    }
}

/// Why a work item could not be followed.
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
pub fn consumer_name(incarnation: u64) -> String {
    format!("dispatcher-{incarnation}")
}

impl Dispatcher {
    /// Follows the work items of events and of a slow sweep, until cancelled.
    ///
    /// # Errors
    /// When the broker can't be reached.
    pub async fn run(&self, cancel: CancellationToken) -> Result<(), Cause> {
        let consumer = consumer_name(self.incarnation);
        let filter = Filter::Kind("tenancy");
        let events = job_runner::process_events(
            EventSource { role: "dispatcher", consumer: &consumer, filter, debounce: Duration::ZERO },
            &self.log,
            &cancel,
            |recorded| match (&recorded.envelope.aggregate, &recorded.envelope.event) {
                (AggregateId::Tenancy(user), Event::Tenancy(event)) => {
                    WorkItem::from_event(*user, event).map(|item| ((*user, item.instance_id), item))
                }
                _ => None,
            },
            |item, newer| item.backends.extend(newer.backends),
            |item| self.step(item),
        );
        let sweeps = async {
            let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
            while cancel.run_until_cancelled(sweep.tick()).await.is_some() {
                self.sweep().await?;
            }
            Ok(())
        };
        tokio::try_join!(async { events.await.map_err(Cause::from) }, sweeps)?;
        Ok(())
    }

    async fn step(&self, item: WorkItem) -> Result<(), Cause> {
        Ok(self.reconcile(&item).await?)
    }

    /// Follows a work item of the sweep: what fails is left to the next one.
    async fn reconcile_or_log(&self, item: &WorkItem) {
        if let Err(error) = self.reconcile(item).await {
            tracing::warn!(instance = %item.instance_id, error = chain(&error), "a work item could not be followed");
        }
    }

    /// Compares all that stands with what is wanted.
    async fn sweep(&self) -> Result<(), Cause> {
        for (backend, instance) in self.assignments.all().await? {
            if let Some(assignment) = self.assignments.current(backend, instance).await?.assignment {
                self.reconcile_or_log(&WorkItem::for_backend(assignment.user_id, instance, backend, Trigger::Changed))
                    .await;
            }
        }
        Ok(())
    }

    /// Follows one item to its end.
    ///
    /// # Errors
    /// See [`DispatchError`]; the item must be followed again.
    pub async fn reconcile(&self, item: &WorkItem) -> Result<(), DispatchError> {
        for _ in 0..MAX_ATTEMPTS {
            if self.attempt(item).await? {
                return Ok(());
            }
        }
        Err(DispatchError::Contended)
    }

    /// One attempt; `false` if the state or an assignment moved on meanwhile.
    async fn attempt(&self, item: &WorkItem) -> Result<bool, DispatchError> {
        let cached = self.executor.state::<Tenancy>(item.user_id).await?;
        let mut standing = BTreeMap::new();
        let backends: BTreeSet<_> =
            item.backends.keys().copied().chain(desired(&cached.state, item).into_keys()).collect();
        for backend in backends {
            standing.insert(backend, self.assignments.current(backend, item.instance_id).await?);
        }
        // Read after the sequences: an assignment put under them comes from a state at least as new as theirs.
        let fresh = self.executor.confirmed::<Tenancy>(item.user_id).await?;
        let desired = desired(&fresh.state, item);
        if desired.keys().any(|backend| !standing.contains_key(backend)) {
            return Ok(false);
        }
        for (backend, standing) in standing {
            let trigger = item.backends.get(&backend).copied().unwrap_or(Trigger::Changed);
            let stands = match plan(&standing, desired.get(&backend), trigger, item) {
                Action::Nothing => true,
                Action::Put(assignment) => self.assignments.replace(backend, &assignment, &standing).await?,
                Action::Remove => {
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

fn desired(state: &Tenancy, item: &WorkItem) -> BTreeMap<BackendId, Assignment> {
    state
        .instance(item.instance_id)
        .map(|instance| wanted(item.user_id, item.instance_id, instance))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
