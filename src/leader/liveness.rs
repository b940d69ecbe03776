//! Liveness: the one judge of heartbeats.
//!
//! In: what was heard of each machine and when, on a monotonic clock. Out: `connected` for a machine that is heard,
//! `lost` for one that was silent too long. Silence counts only while this replica is connected and elected; when
//! many fall silent together the fault is likelier ours or the network's, so that raises an alarm and moves nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dockhost_domain::backend::{ConnectBackend, Connected, Link, LoseBackend};
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::BackendId;
use dockhost_domain::subject::AggregateId;
use tokio_util::sync::CancellationToken;

use crate::execute::Executor;
use crate::replica::follower::Follower;
use crate::replica::heartbeat_registry::{HeartbeatRegistry, LastHeartbeat};

/// How often silence is looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Fewer machines than this may always be judged: with two machines, one is half of them.
const MASS_FAILURE_MIN: usize = 3;

/// What the judge says of machines that are silent for too long.
#[derive(Debug, PartialEq, Eq)]
enum Silence {
    /// These are lost.
    Lost(Vec<BackendId>),
    /// Too many at once.
    MassFailure,
}

/// Judges: `silent` are the connected machines beyond the limit, out of `connected`.
fn classify(silent: Vec<BackendId>, connected: usize) -> Silence {
    if silent.len() >= MASS_FAILURE_MIN && silent.len() * 4 > connected {
        Silence::MassFailure
    } else {
        Silence::Lost(silent)
    }
}

/// The role.
pub struct Liveness {
    /// Runs the commands.
    pub executor: Arc<Executor>,
    /// Knows which machines count as connected.
    pub follower: Arc<Follower>,
    /// Knows what was heard.
    pub heartbeats: Arc<HeartbeatRegistry>,
    /// Tells whether this replica could hear anything.
    pub client: async_nats::Client,
    /// A machine that was silent for longer is lost.
    pub lost_after: Duration,
}

impl Liveness {
    /// Judges until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let mut heartbeats = self.heartbeats.subscribe();
        let mut check = tokio::time::interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Silence before this moment is not held against anybody.
        let mut listening_since = Instant::now();
        let mut last_check = Instant::now();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = heartbeats.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.connect_heard().await;
                }
                _ = check.tick() => {
                    let connected = self.client.connection_state() == async_nats::connection::State::Connected;
                    // A paused process has heard nothing either.
                    if !connected || !self.follower.is_live() || last_check.elapsed() > CHECK_INTERVAL * 3 {
                        listening_since = Instant::now();
                    }
                    last_check = Instant::now();
                    self.handle_silent(listening_since).await;
                }
            }
        }
    }

    async fn connect_heard(&self) {
        for (backend, last) in self.heartbeats.take_new() {
            if last.received.elapsed() < self.lost_after {
                self.connect(backend, last).await;
            }
        }
    }

    async fn connect(&self, backend: BackendId, last: LastHeartbeat) {
        let facts = Connected {
            address: last.heartbeat.address.into(),
            runtime: last.heartbeat.runtime,
            agent_version: last.heartbeat.agent_version,
        };
        // Nothing can be recorded of it here; said once, by the follower.
        if self.is_frozen(backend) {
            return;
        }
        let known = self
            .follower
            .fleet()
            .machine(backend)
            .is_some_and(|machine| machine.link == Link::Connected && machine.facts.as_ref() == Some(&facts));
        if known {
            return;
        }
        match self.executor.execute(backend, self.origin("heartbeat"), ConnectBackend(facts)).await {
            Ok(done) if done.stored.is_some() => tracing::info!(%backend, "the backend is connected"),
            Ok(_) => {}
            Err(error) => tracing::warn!(%backend, %error, "a heartbeat could not be recorded"),
        }
    }

    async fn handle_silent(&self, listening_since: Instant) {
        let connected: Vec<BackendId> =
            self.follower.fleet().candidates().iter().filter(|c| c.connected).map(|c| c.backend_id).collect();
        let silence = |backend: &BackendId| {
            let heard =
                self.heartbeats.last(*backend).map_or(listening_since, |last| last.received.max(listening_since));
            heard.elapsed()
        };
        let silent = connected.iter().filter(|backend| silence(backend) > self.lost_after).copied().collect();
        match classify(silent, connected.len()) {
            Silence::MassFailure => {
                tracing::error!("many backends fell silent together: nothing is moved until this is understood");
            }
            Silence::Lost(silent) => {
                for backend in silent.into_iter().filter(|backend| !self.is_frozen(*backend)) {
                    let command = LoseBackend { silent_for_seconds: silence(&backend).as_secs() };
                    match self.executor.execute(backend, self.origin("silence"), command).await {
                        Ok(_) => tracing::warn!(%backend, "the backend is lost"),
                        Err(error) => tracing::warn!(%backend, %error, "a lost backend could not be recorded"),
                    }
                }
            }
        }
    }

    fn is_frozen(&self, backend: BackendId) -> bool {
        self.follower.frozen().get(&AggregateId::Backend(backend).to_string()).is_some()
    }

    fn origin(&self, cause: &str) -> Origin {
        Origin { actor: Actor::System, cause: format!("liveness:{cause}"), trace_parent: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn machines(n: u128) -> Vec<BackendId> {
        (0..n).map(|n| BackendId::from_uuid(Uuid::from_u128(n))).collect()
    }

    #[test]
    fn few_are_always_judged_and_many_together_raise_an_alarm() {
        assert_eq!(classify(machines(1), 1), Silence::Lost(machines(1)));
        assert_eq!(classify(machines(2), 2), Silence::Lost(machines(2)));
        assert_eq!(classify(machines(3), 12), Silence::Lost(machines(3)));
        assert_eq!(classify(machines(3), 11), Silence::MassFailure);
        assert_eq!(classify(machines(0), 0), Silence::Lost(vec![]));
    }
}
