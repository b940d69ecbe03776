//! Handles `backend.lost`: executes one command per instance assigned to the backend; idempotent.
//!
//! The domain decides what follows. An instance that is being created is placed elsewhere; one that has a container
//! stays, because its disk is on the lost backend, unless its owner chose that it is recreated elsewhere after a while.

use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::backend::{Backend, BackendEvent};
use dockhost_domain::envelope::{Actor, Origin, RecordedEvent};
use dockhost_domain::event::Event;
use dockhost_domain::ids::{BackendId, EventId, InstanceId, UserId};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::{HandleBackendLost, MoveInstance, MoveRejected, Occasion, Policy, Tenancy};
use dockhost_domain::timestamp::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::broker::assignments::Assignments;
use crate::common::error::Cause;
use crate::event_log::LogError;
use crate::event_log::jetstream::JetStreamLog;
use crate::execute::{ExecuteError, Executor};
use crate::leader::failed_operation;
use crate::leader::job_runner::{self, EventSource, RETRY_DELAY, RetryLater};
use crate::leader::skip_frozen::skip_frozen;
use crate::replica::follower::Follower;

/// How often instances are looked at that can't be moved now. Perhaps for weeks, if their owners stopped them.
const MOVE_INTERVAL: Duration = Duration::from_secs(5);

/// The reaction.
pub struct BackendLost {
    /// The log.
    pub log: Arc<JetStreamLog>,
    /// Executes the commands.
    pub executor: Arc<Executor>,
    /// Knows the fleet.
    pub follower: Arc<Follower>,
    /// The stream ASSIGNMENTS.
    pub assignments: Assignments,
    /// Deadlines of instances.
    pub policy: Policy,
}

fn lost(recorded: &RecordedEvent) -> Option<((BackendId, ()), (BackendId, EventId))> {
    match (&recorded.envelope.aggregate, &recorded.envelope.event) {
        (AggregateId::Backend(backend), Event::Backend(BackendEvent::Lost(_))) => {
            Some(((*backend, ()), (*backend, recorded.envelope.meta.id)))
        }
        _ => None,
    }
}

impl BackendLost {
    /// Reacts until cancelled.
    ///
    /// # Errors
    /// When the broker can't be reached.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Cause> {
        let react = |(backend, event)| self.react(backend, event);
        let reading = EventSource {
            role: "backend-lost",
            consumer: "backend-lost",
            kind: "backend",
            debounce: Duration::ZERO,
            follower: &self.follower,
        };
        job_runner::process_events(reading, &self.log, &cancel, lost, |last, newer| *last = newer, react).await?;
        Ok(())
    }

    async fn react(&self, backend_id: BackendId, event: EventId) -> Result<(), Cause> {
        if self.lost_since(backend_id).await?.is_none() {
            return Ok(());
        }
        self.follower.fleet().wait_for_heartbeats().await;
        let origin = Origin { actor: Actor::System, cause: format!("reaction:{event}"), trace_parent: None };
        let mut again: Option<Duration> = None;
        for (_, instance_id) in self.assignments.of(backend_id).await? {
            let current = self.assignments.current(backend_id, instance_id).await?;
            let Some(assignment) = current.assignment else { continue };
            let handled = self.handle_instance(backend_id, instance_id, assignment.user_id, &origin).await;
            let after = skip_frozen(instance_id, handled)?.flatten();
            again = again.into_iter().chain(after).min();
        }
        match again {
            Some(after) => Err(RetryLater { reason: format!("the return of backend {backend_id}"), after }.into()),
            None => Ok(()),
        }
    }

    /// Since when the backend is lost; `None` if it is connected again and continues with its assignments.
    async fn lost_since(&self, backend_id: BackendId) -> Result<Option<Timestamp>, LogError> {
        let backend = self.executor.confirmed::<Backend>(backend_id).await?;
        Ok(backend.state.machine.as_ref().and_then(|machine| machine.lost_at))
    }

    /// Returns when to look at the instance again, if that is necessary.
    async fn handle_instance(
        &self,
        backend_id: BackendId,
        instance_id: InstanceId,
        owner: UserId,
        origin: &Origin,
    ) -> Result<Option<Duration>, ExecuteError<MoveRejected>> {
        let facts = self.follower.facts(self.policy, instance_id);
        let command = HandleBackendLost { backend_id, instance_id, facts };
        let before = self.executor.state::<Tenancy>(owner).await?;
        let done = self
            .executor
            .execute(owner, origin.clone(), command)
            .await
            .map_err(|error| error.map(|never| match never {}))?;
        let instance = done.current.state.instance(instance_id);
        failed_operation::log(instance_id, before.state.instance(instance_id), instance);
        if !instance.is_some_and(|instance| instance.is_recreated_if_lost(backend_id)) {
            return Ok(None);
        }
        // The others may have taken a while.
        let Some(lost_at) = self.lost_since(backend_id).await? else { return Ok(None) };
        let facts = self.follower.facts(self.policy, instance_id);
        let now = facts.now;
        let command = MoveInstance { backend_id, instance_id, occasion: Occasion::LostSince(lost_at), facts };
        match self.executor.execute(owner, origin.clone(), command).await {
            Ok(done) if done.stored.is_some() => {
                tracing::info!(instance = %instance_id, from = %backend_id, "made anew on another backend");
                Ok(None)
            }
            // It is stopped, a change of it is under way, or its owner's account is disabled; or no backend can take it.
            Ok(_) | Err(ExecuteError::Rejected(MoveRejected::NoCandidate(_))) => Ok(Some(MOVE_INTERVAL)),
            Err(ExecuteError::Rejected(MoveRejected::TooEarly { at })) => Ok(Some(at.since(now).max(RETRY_DELAY))),
            Err(error) => Err(error),
        }
    }
}
