//! The dispatcher: keeps ASSIGNMENTS equal to the instances' desired state. Level-triggered: an event or a report only
//! says what to reconcile.
//!
//! For each work item it reads the last sequences of the assignments, then the current state, and publishes with those
//! sequences as the expectation: a concurrent writer that wins has seen a state at least as new. The expectation of an
//! empty subject holds again once an assignment was removed, so after each publish the state is compared once more, and
//! agents confirm each creation ([`crate::replica::confirm`]). Only the final state is published, so replaying the log
//! publishes no history.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::event::Event;
use dockhost_domain::ids::{BackendId, InstanceId, UserId};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::event::{PlacementChange, TenancyEvent};
use dockhost_domain::tenancy::{Tenancy, desired_assignments};
use dockhost_domain::wire::{Assignment, DesiredState};
use dockhost_projections::store::MongoStore;
use dockhost_telemetry::trace;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;

use crate::broker::assignments::{Assignments, AssignmentsError, CurrentAssignment};
use crate::broker::streams::incarnation::StreamIncarnation;
use crate::common::areas;
use crate::common::error::Cause;
use crate::event_log::LogError;
use crate::event_log::jetstream::JetStreamLog;
use crate::execute::Executor;
use crate::leader::job_runner::{self, EventSource};
use crate::replica::follower::Follower;

/// How often all assignments are reconciled.
const SWEEP_INTERVAL: Duration = Duration::from_secs(300);
/// Attempts per work item before it fails as contended.
const MAX_RECONCILE_ATTEMPTS: usize = 5;

/// One instance to reconcile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkItem {
    /// The instance's owner.
    pub user_id: UserId,
    /// The instance.
    pub instance_id: InstanceId,
    /// Backends to reconcile beside those that the instance's state names.
    pub backends: BTreeMap<BackendId, Trigger>,
}

/// Why a backend is to be reconciled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Something changed.
    Changed,
    /// The backend confirmed that it has no container of the instance.
    Removed,
    /// The backend has an obsolete container.
    OrphanedContainer {
        /// The placement that the container was created for.
        placement: u32,
    },
}

impl WorkItem {
    /// A work item for one backend.
    pub fn for_backend(user_id: UserId, instance_id: InstanceId, backend: BackendId, trigger: Trigger) -> Self {
        Self { user_id, instance_id, backends: BTreeMap::from([(backend, trigger)]) }
    }

    /// The work that a tenancy event causes; none if it concerns no instance.
    pub fn from_event(user_id: UserId, event: &TenancyEvent) -> Option<Self> {
        let instance_id = event.instance_id()?;
        let trigger = |change| match change {
            PlacementChange::Added | PlacementChange::Abandoned => Trigger::Changed,
            PlacementChange::Removed => Trigger::Removed,
        };
        let changes = event.placement_changes().into_iter();
        let backends = changes.map(|(backend, change)| (backend, trigger(change))).collect();
        Some(Self { user_id, instance_id, backends })
    }
}

/// What to do with the assignment of one instance on one backend.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    Nothing,
    Put(Assignment),
    Remove,
}

/// What [`Dispatcher::prepare`] decided for one work item.
#[derive(Debug)]
pub struct Planned {
    /// The assignments that the state wanted.
    desired: BTreeMap<BackendId, Assignment>,
    changes: BTreeMap<BackendId, Change>,
}

/// What to do with one assignment, and what it was when that was decided.
#[derive(Debug)]
struct Change {
    current: CurrentAssignment,
    action: Action,
}

/// Compares the current with the desired assignment.
fn plan(current: &CurrentAssignment, desired: Option<&Assignment>, trigger: Trigger, item: &WorkItem) -> Action {
    let deleted = |placement, generation| {
        Action::Put(Assignment {
            instance_id: item.instance_id,
            user_id: item.user_id,
            placement,
            generation,
            desired: DesiredState::Deleted,
            container: None,
        })
    };
    match (desired, &current.assignment, trigger) {
        (Some(desired), Some(current), _) if current == desired => Action::Nothing,
        (Some(desired), _, _) => Action::Put(desired.clone()),
        (None, Some(_), Trigger::Removed) => Action::Remove,
        (None, Some(current), _) if current.desired != DesiredState::Deleted => {
            deleted(current.placement, current.generation)
        }
        (None, Some(current), Trigger::OrphanedContainer { placement }) if current.placement < placement => {
            deleted(placement, 0)
        }
        (None, None, Trigger::OrphanedContainer { placement }) => deleted(placement, 0),
        // A `deleted` assignment stays until the backend confirms the removal.
        (None, _, _) => Action::Nothing,
    }
}

/// Why a work item could not be reconciled.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// ASSIGNMENTS can't be read or written.
    #[error("assignments unavailable")]
    Assignments(#[from] AssignmentsError),
    /// The log can't be read.
    #[error("reading the tenancy failed")]
    Log(#[from] LogError),
    /// Each attempt lost a race with another writer.
    #[error("sequence conflict on the assignment")]
    Contended,
}

/// The dispatcher role.
pub struct Dispatcher {
    /// The log.
    pub log: Arc<JetStreamLog>,
    /// Loads tenancies.
    pub executor: Arc<Executor>,
    /// The stream ASSIGNMENTS.
    pub assignments: Assignments,
    /// The read models, for the sweep.
    pub store: MongoStore,
}

/// The name of the dispatcher's durable consumer, for this stream ASSIGNMENTS.
#[must_use]
pub fn consumer_name(assignments: StreamIncarnation) -> String {
    format!("dispatcher-{}", assignments.created_at())
}

impl Dispatcher {
    /// Reconciles what events concern, and regularly everything, until cancelled. A stream ASSIGNMENTS that was made again
    /// is filled from the whole log.
    ///
    /// # Errors
    /// When the broker can't be reached.
    pub async fn run(
        &self,
        follower: &Follower,
        assignments: StreamIncarnation,
        cancel: CancellationToken,
    ) -> Result<(), Cause> {
        let consumer = consumer_name(assignments);
        let events = job_runner::process_events(
            EventSource {
                role: "dispatcher",
                consumer: &consumer,
                kind: "tenancy",
                debounce: Duration::ZERO,
                follower,
            },
            &self.log,
            &cancel,
            |recorded| match (&recorded.envelope.aggregate, &recorded.envelope.event) {
                (AggregateId::Tenancy(user), Event::Tenancy(event)) => {
                    WorkItem::from_event(*user, event).map(|item| ((*user, item.instance_id), item))
                }
                _ => None,
            },
            |item, newer| item.backends.extend(newer.backends),
            |item| self.handle(item),
        );
        // The role restarts after a failure of the events, so the sweep must end with them.
        let sweep_cancel = cancel.child_token();
        let events = async {
            let outcome = events.await;
            sweep_cancel.cancel();
            outcome
        };
        let (outcome, ()) = tokio::join!(events, self.sweep_regularly(&sweep_cancel));
        Ok(outcome?)
    }

    async fn handle(&self, item: WorkItem) -> Result<(), Cause> {
        Ok(self.reconcile(&item).await?)
    }

    /// Reconciles one work item, in the trace of the task.
    ///
    /// # Errors
    /// See [`DispatchError`]; reconcile again later.
    pub async fn reconcile(&self, item: &WorkItem) -> Result<(), DispatchError> {
        let span = tracing::info_span!("assignment", instance = %item.instance_id, trace = Empty);
        trace::in_span(span, trace::current(), self.reconcile_until_settled(item)).await
    }

    async fn reconcile_until_settled(&self, item: &WorkItem) -> Result<(), DispatchError> {
        let mut item = item.clone();
        for _ in 0..MAX_RECONCILE_ATTEMPTS {
            let planned = self.prepare(&item).await?;
            if self.carry_out(&item, &planned).await? {
                return Ok(());
            }
            // What was published for a state that changed meanwhile must be corrected, also where it is not desired now.
            for backend in planned.changes.into_keys() {
                item.backends.entry(backend).or_insert(Trigger::Changed);
            }
        }
        Err(DispatchError::Contended)
    }

    /// Decides what to publish for a work item; publishes nothing.
    ///
    /// # Errors
    /// See [`DispatchError`].
    pub async fn prepare(&self, item: &WorkItem) -> Result<Planned, DispatchError> {
        let cached = self.executor.state::<Tenancy>(item.user_id).await?;
        let mut current = BTreeMap::new();
        let backends: BTreeSet<_> =
            item.backends.keys().copied().chain(desired(&cached.state, item).into_keys()).collect();
        for backend in backends {
            current.insert(backend, self.assignments.current(backend, item.instance_id).await?);
        }
        // Read after the sequences, so this state is at least as new as the one that each current assignment came from.
        let fresh = self.executor.confirmed::<Tenancy>(item.user_id).await?;
        let desired = desired(&fresh.state, item);
        let change = |(backend, current): (BackendId, CurrentAssignment)| {
            let trigger = item.backends.get(&backend).copied().unwrap_or(Trigger::Changed);
            let action = plan(&current, desired.get(&backend), trigger, item);
            (backend, Change { current, action })
        };
        let changes = current.into_iter().map(change).collect();
        Ok(Planned { desired, changes })
    }

    /// Carries a decision out; `false` if the state or an assignment changed meanwhile: prepare again.
    ///
    /// # Errors
    /// See [`DispatchError`].
    pub async fn carry_out(&self, item: &WorkItem, planned: &Planned) -> Result<bool, DispatchError> {
        if planned.desired.keys().any(|backend| !planned.changes.contains_key(backend)) {
            return Ok(false);
        }
        let mut published = false;
        for (backend, Change { current, action }) in &planned.changes {
            match action {
                Action::Nothing => {}
                Action::Put(assignment) => {
                    if !self.assignments.replace(*backend, assignment, current).await? {
                        return Ok(false);
                    }
                    tracing::debug!(target: areas::CONTAINER, %backend, placement = assignment.placement,
                        generation = assignment.generation, desired = ?assignment.desired, "assigned");
                    published = true;
                }
                Action::Remove => self.assignments.remove(current.sequence).await?,
            }
        }
        // Without this, a replica that was paused before it published would leave an old assignment until the next sweep.
        Ok(!published
            || desired(&self.executor.confirmed::<Tenancy>(item.user_id).await?.state, item) == planned.desired)
    }
}

fn desired(state: &Tenancy, item: &WorkItem) -> BTreeMap<BackendId, Assignment> {
    state
        .instance(item.instance_id)
        .map(|instance| desired_assignments(item.user_id, item.instance_id, instance))
        .unwrap_or_default()
}

mod sweep;
#[cfg(test)]
mod tests;
