//! Handles `backend.lost`: executes one command per instance assigned to the backend; idempotent.
//!
//! The domain decides what follows. An instance that is being created is placed elsewhere; one that has a container
//! stays, because its disk is on the lost backend. If its owner chose that it is recreated elsewhere after a while, the role
//! [`Recreation`](crate::leader::recreation) does that.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::backend::{Backend, BackendEvent};
use dockhost_domain::envelope::{Actor, Origin, RecordedEvent};
use dockhost_domain::event::Event;
use dockhost_domain::ids::{BackendId, EventId, InstanceId, UserId};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::{HandleBackendLost, Policy, Tenancy};
use tokio_util::sync::CancellationToken;

use crate::broker::assignments::Assignments;
use crate::common::error::Cause;
use crate::event_log::jetstream::JetStreamLog;
use crate::execute::{ExecuteError, Executor};
use crate::leader::failed_operation;
use crate::leader::job_runner::{self, EventSource};
use crate::leader::skip_frozen::skip_frozen;
use crate::replica::follower::Follower;

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
        let backend = self.executor.confirmed::<Backend>(backend_id).await?;
        if backend.state.machine.as_ref().is_none_or(|machine| machine.lost_at.is_none()) {
            return Ok(());
        }
        self.follower.fleet().wait_for_heartbeats().await;
        let origin = Origin::new(Actor::System, format!("reaction:{event}"));
        for (_, instance_id) in self.assignments.of(backend_id).await? {
            let current = self.assignments.current(backend_id, instance_id).await?;
            let Some(assignment) = current.assignment else { continue };
            skip_frozen(instance_id, self.handle_instance(backend_id, instance_id, assignment.user_id, &origin).await)?;
        }
        Ok(())
    }

    async fn handle_instance(
        &self,
        backend_id: BackendId,
        instance_id: InstanceId,
        owner: UserId,
        origin: &Origin,
    ) -> Result<(), ExecuteError<Infallible>> {
        let facts = self.follower.facts(self.policy, instance_id);
        let command = HandleBackendLost { backend_id, instance_id, facts };
        let before = self.executor.state::<Tenancy>(owner).await?;
        let done = self.executor.execute(owner, origin.clone(), command).await?;
        failed_operation::log(
            instance_id,
            before.state.instance(instance_id),
            done.current.state.instance(instance_id),
        );
        Ok(())
    }
}
