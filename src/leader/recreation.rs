//! Recreates instances of lost backends on other backends, if their owners chose that and they are to run.
//!
//! Each round looks at the states as they are, so it needs no memory, and a new leader continues. It finds what ran when the backend
//! was lost, and also what its owner resumed, or set to `onLost: recreate`, since: a stopped instance may wait for weeks.

use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::aggregate::Command;
use dockhost_domain::backend::Backend;
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::{BackendId, InstanceId, UserId};
use dockhost_domain::tenancy::{MoveInstance, MoveRejected, Occasion, Policy, Tenancy};
use dockhost_domain::timestamp::Timestamp;
use dockhost_telemetry::trace;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;

use crate::common::clock;
use crate::common::error::Cause;
use crate::event_log::LogError;
use crate::execute::{ExecuteError, Executor};
use crate::leader::skip_frozen::skip_frozen;
use crate::replica::fleet::LostBackend;
use crate::replica::follower::Follower;

/// How often it looks. A round in which nothing is to be moved reads only what is in memory.
const INTERVAL: Duration = Duration::from_secs(2);

/// The role.
pub struct Recreation {
    /// Executes the commands.
    pub executor: Arc<Executor>,
    /// Knows the fleet.
    pub follower: Arc<Follower>,
    /// For how long a backend is lost before its instances are moved, and their deadlines.
    pub policy: Policy,
}

/// The instances of the backends that have been lost for long enough, with their owners.
fn due(lost: Vec<LostBackend>, recreate_after: Duration, now: Timestamp) -> Vec<(BackendId, UserId, InstanceId)> {
    let long = lost.into_iter().filter(|backend| now >= backend.since.after(recreate_after));
    long.flat_map(|backend| backend.instances.into_iter().map(move |(owner, id)| (backend.id, owner, id))).collect()
}

impl Recreation {
    /// Runs until cancelled.
    ///
    /// # Errors
    /// When the broker can't be reached.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Cause> {
        while cancel.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            self.follower.fleet().wait_for_heartbeats().await;
            for (backend, owner, instance) in
                due(self.follower.fleet().lost(), self.policy.recreate_after, clock::now())
            {
                skip_frozen(instance, self.look_at(backend, owner, instance).await)?;
            }
        }
        Ok(())
    }

    async fn look_at(
        &self,
        backend_id: BackendId,
        owner: UserId,
        instance_id: InstanceId,
    ) -> Result<(), ExecuteError<MoveRejected>> {
        let known = self.executor.state::<Tenancy>(owner).await?;
        if !known.state.instance(instance_id).is_some_and(|instance| instance.moves_when_lost(backend_id)) {
            return Ok(());
        }
        // It may have returned meanwhile, or while others were moved.
        let Some(lost_at) = self.lost_since(backend_id).await? else { return Ok(()) };
        let facts = self.follower.facts(self.policy, instance_id);
        let command = MoveInstance { backend_id, instance_id, occasion: Occasion::LostSince(lost_at), facts };
        // Most rounds find that it has to wait. They begin no trace, which would be one of nothing every two seconds.
        if !matches!(command.decide(&known.state), Ok(Some(_))) {
            return Ok(());
        }
        let origin = Origin::new(Actor::System, format!("backend-lost:{backend_id}"));
        let execute = self.executor.execute(owner, origin, command);
        let span = tracing::info_span!("recreation", instance = %instance_id, trace = Empty);
        match trace::in_span(span, None, execute).await {
            Ok(done) if done.stored.is_some() => {
                tracing::info!(instance = %instance_id, from = %backend_id, "recreated on another backend");
                Ok(())
            }
            // A change of it is under way, or its owner's account is disabled; or no backend can take it. A later round looks again.
            Ok(_) | Err(ExecuteError::Rejected(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Since when the backend is lost; `None` if it is connected again and continues with its assignments.
    async fn lost_since(&self, backend_id: BackendId) -> Result<Option<Timestamp>, LogError> {
        let backend = self.executor.confirmed::<Backend>(backend_id).await?;
        Ok(backend.state.machine.as_ref().and_then(|machine| machine.lost_at))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use dockhost_domain::backend::MarkLost;
    use serde_json::json;
    use tracing::Level;
    use tracing::instrument::WithSubscriber;
    use tracing_subscriber::fmt::format::FmtSpan;
    use uuid::Uuid;

    use super::*;
    use crate::http::testing::TestApp;

    #[test]
    fn due_are_the_instances_of_backends_that_have_been_lost_for_long_enough() {
        let (owner, at) = (UserId::from_uuid(Uuid::nil()), Timestamp::from_millis);
        let instance = |n| InstanceId::from_uuid(Uuid::from_u128(n));
        let lost = |n: u128, since| LostBackend {
            id: BackendId::from_uuid(Uuid::from_u128(n)),
            since: at(since),
            instances: vec![(owner, instance(10 * n)), (owner, instance(10 * n + 1))],
        };
        let found = |now| {
            let due = due(vec![lost(1, 0), lost(2, 4000)], Duration::from_secs(5), at(now));
            due.into_iter().map(|(_, _, id)| id).collect::<Vec<_>>()
        };
        assert!(found(4999).is_empty());
        assert_eq!(found(5000), [instance(10), instance(11)]);
        assert_eq!(found(9000), [10, 11, 20, 21].map(instance));
    }

    #[tokio::test]
    async fn recreation_begins_a_trace_only_once_a_backend_can_take_the_instance() {
        let app = TestApp::new().await;
        let lost = app.connected_backend("lab-1", 9).await.id;
        let ada = app.user("ada").await;
        let id = app.running_instance(&ada, "web").await;
        let path = format!("/api/v2/user/instance/{id}");
        let change = app.request(Method::PATCH, &path).json(json!({ "onLost": "recreate" })).token(&ada.token);
        assert_eq!(change.send().await.status, 200);
        app.execute(lost, MarkLost { silent_for_seconds: 20 }).await;
        let role = Recreation {
            executor: Arc::clone(&app.app.executor),
            follower: Arc::clone(&app.app.follower),
            policy: Policy { recreate_after: Duration::ZERO, ..Policy::default() },
        };
        // Whether a look at the instance begins a trace.
        let look = async || {
            let file = tempfile::NamedTempFile::new().unwrap();
            let lines = tracing_subscriber::fmt().with_max_level(Level::DEBUG).with_ansi(false);
            let lines = lines.with_span_events(FmtSpan::NEW).with_writer(file.reopen().unwrap()).finish();
            role.look_at(lost, ada.id, id).with_subscriber(lines).await.unwrap();
            std::fs::read_to_string(file.path()).unwrap().contains("recreation{")
        };
        assert!(!look().await, "no backend can take it");
        app.connected_backend("lab-2", 9).await;
        assert!(look().await, "lab-2 can take it");
        let moved = app.log.events().pop().unwrap();
        assert_eq!(moved.envelope.origin.cause, format!("backend-lost:{lost}"));
        assert!(moved.envelope.origin.trace_parent.is_some(), "{moved:?}");
    }
}
