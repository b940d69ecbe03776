//! Handles `backend.removed`: ends the stay of each instance that was placed on the backend; idempotent.
//!
//! A replica that does not know of the removal yet may place an instance there. So the reaction looks again for a while,
//! and until it finds nothing.

use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::aggregate::Meta;
use dockhost_domain::backend::BackendEvent;
use dockhost_domain::envelope::{Actor, Origin, RecordedEvent};
use dockhost_domain::event::Event;
use dockhost_domain::ids::BackendId;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::{HandleBackendRemoved, Policy};
use tokio_util::sync::CancellationToken;

use crate::broker::assignments::Assignments;
use crate::common::clock;
use crate::common::error::Cause;
use crate::event_log::jetstream::JetStreamLog;
use crate::execute::Executor;
use crate::leader::job_runner::{self, EventSource, RETRY_DELAY, RetryLater};
use crate::leader::skip_frozen::skip_frozen;
use crate::replica::follower::Follower;

/// For so long after the removal a replica may not know of it.
const SETTLING_TIME: Duration = Duration::from_secs(5);

/// The reaction.
pub struct BackendRemoved {
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

fn removed(recorded: &RecordedEvent) -> Option<((BackendId, ()), (BackendId, Meta))> {
    match (&recorded.envelope.aggregate, &recorded.envelope.event) {
        (AggregateId::Backend(backend), Event::Backend(BackendEvent::Removed(_))) => {
            Some(((*backend, ()), (*backend, recorded.envelope.meta)))
        }
        _ => None,
    }
}

impl BackendRemoved {
    /// Reacts until cancelled.
    ///
    /// # Errors
    /// When the broker can't be reached.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Cause> {
        let react = |(backend, removal)| self.react(backend, removal);
        let reading = EventSource {
            role: "backend-removed",
            consumer: "backend-removed",
            kind: "backend",
            debounce: Duration::ZERO,
            follower: &self.follower,
        };
        job_runner::process_events(reading, &self.log, &cancel, removed, |last, newer| *last = newer, react).await?;
        Ok(())
    }

    async fn react(&self, backend_id: BackendId, removal: Meta) -> Result<(), Cause> {
        self.follower.fleet().wait_for_heartbeats().await;
        let mut ended = 0;
        for (_, instance_id) in self.assignments.of(backend_id).await? {
            let current = self.assignments.current(backend_id, instance_id).await?;
            let Some(assignment) = current.assignment else { continue };
            let facts = self.follower.facts(self.policy, instance_id);
            let command = HandleBackendRemoved { backend_id, instance_id, facts };
            let origin = Origin::new(Actor::System, format!("reaction:{}", removal.id));
            let done = skip_frozen(instance_id, self.executor.execute(assignment.user_id, origin, command).await)?;
            ended += usize::from(done.is_some_and(|done| done.stored.is_some()));
        }
        if ended > 0 {
            tracing::info!(backend = %backend_id, instances = ended, "instances of a removed backend ended");
        }
        if ended > 0 || clock::now().since(removal.time) < SETTLING_TIME {
            return Err(RetryLater {
                reason: "instances that were placed on the backend meanwhile".to_owned(),
                after: RETRY_DELAY,
            }
            .into());
        }
        Ok(())
    }
}
