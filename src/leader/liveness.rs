//! Liveness: marks a backend connected when it sends heartbeats and lost when it stops.
//!
//! Silence is measured on a monotonic clock and counts only while this replica leads and is connected to the broker.
//! When many backends stop at once, the cause is more likely this side of the network: the role logs an error and marks
//! none of them lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dockhost_domain::backend::{Connected, ConnectionState, MarkConnected, MarkLost};
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::BackendId;
use dockhost_domain::subject::AggregateId;
use tokio_util::sync::CancellationToken;

use crate::common::error::Cause;
use crate::execute::Executor;
use crate::replica::follower::Follower;
use crate::replica::heartbeat_registry::{HeartbeatRegistry, LastHeartbeat};

/// How often the role checks for silent backends.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Fewer silent backends are never a mass failure: of two backends, one is half the fleet.
const MASS_FAILURE_MIN: usize = 3;

/// How to treat the silent backends.
#[derive(Debug, PartialEq, Eq)]
enum Silence {
    /// Mark these lost.
    Lost(Vec<BackendId>),
    /// Too many at once; mark none.
    MassFailure,
}

/// Classifies the silent backends out of `connected` ones.
fn classify(silent: Vec<BackendId>, connected: usize) -> Silence {
    if silent.len() >= MASS_FAILURE_MIN && silent.len() * 4 > connected {
        Silence::MassFailure
    } else {
        Silence::Lost(silent)
    }
}

/// The liveness role.
pub struct Liveness {
    /// Executes the commands.
    pub executor: Arc<Executor>,
    /// Knows the fleet.
    pub follower: Arc<Follower>,
    /// The last heartbeats.
    pub heartbeats: Arc<HeartbeatRegistry>,
    /// The connection that heartbeats arrive on.
    pub client: async_nats::Client,
    /// A backend that is silent for longer is lost.
    pub lost_after: Duration,
}

impl Liveness {
    /// Marks backends connected or lost until cancelled.
    ///
    /// # Errors
    /// None; every role has this signature.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Cause> {
        let mut heartbeats = self.heartbeats.subscribe();
        let mut check = tokio::time::interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Silence before this moment does not count.
        let mut listening_since = Instant::now();
        let mut last_check = Instant::now();
        let mut mass_failure = false;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                changed = heartbeats.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.mark_heard_connected().await;
                }
                _ = check.tick() => {
                    let connected = self.client.connection_state() == async_nats::connection::State::Connected;
                    // A process that was paused received nothing either.
                    if !connected || !self.follower.is_live() || last_check.elapsed() > CHECK_INTERVAL * 3 {
                        listening_since = Instant::now();
                    }
                    last_check = Instant::now();
                    let too_many = self.mark_silent_lost(listening_since).await;
                    if too_many != mass_failure {
                        mass_failure = too_many;
                        if mass_failure {
                            tracing::error!("many backends fell silent at once; none is marked lost, check the network");
                        } else {
                            tracing::info!("the mass failure of backends is over");
                        }
                    }
                }
            }
        }
    }

    async fn mark_heard_connected(&self) {
        for (backend, last) in self.heartbeats.take_new() {
            if last.received.elapsed() < self.lost_after {
                self.connect(backend, last).await;
            }
        }
    }

    async fn connect(&self, backend: BackendId, last: LastHeartbeat) {
        let facts = Connected::from_heartbeat(&last.heartbeat);
        // Nothing can be appended for it here; the follower has logged why.
        if self.is_frozen(backend) {
            return;
        }
        let unchanged = self.follower.fleet().machine(backend).is_some_and(|machine| {
            machine.connection == ConnectionState::Connected && machine.agent_info.as_ref() == Some(&facts)
        });
        if unchanged {
            return;
        }
        match self.executor.execute(backend, self.origin("heartbeat"), MarkConnected(facts)).await {
            Ok(done) if done.stored.is_some() => tracing::info!(%backend, "backend connected"),
            Ok(_) => {}
            Err(error) => tracing::warn!(%backend, %error, "could not mark a backend connected"),
        }
    }

    /// Marks silent backends lost; returns whether there are too many to do so.
    async fn mark_silent_lost(&self, listening_since: Instant) -> bool {
        let connected: Vec<BackendId> =
            self.follower.fleet().candidates().iter().filter(|c| c.connected).map(|c| c.backend_id).collect();
        let silence = |backend: &BackendId| {
            let since =
                self.heartbeats.last(*backend).map_or(listening_since, |last| last.received.max(listening_since));
            since.elapsed()
        };
        let silent = connected.iter().filter(|backend| silence(backend) > self.lost_after).copied().collect();
        let Silence::Lost(silent) = classify(silent, connected.len()) else { return true };
        for backend in silent.into_iter().filter(|backend| !self.is_frozen(*backend)) {
            let command = MarkLost { silent_for_seconds: silence(&backend).as_secs() };
            match self.executor.execute(backend, self.origin("silence"), command).await {
                Ok(_) => tracing::warn!(%backend, "backend lost"),
                Err(error) => tracing::warn!(%backend, %error, "could not mark a backend lost"),
            }
        }
        false
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

    fn backends(n: u128) -> Vec<BackendId> {
        (0..n).map(|n| BackendId::from_uuid(Uuid::from_u128(n))).collect()
    }

    #[test]
    fn classify_many_silent_at_once_is_a_mass_failure() {
        assert_eq!(classify(backends(1), 1), Silence::Lost(backends(1)));
        assert_eq!(classify(backends(2), 2), Silence::Lost(backends(2)));
        assert_eq!(classify(backends(3), 12), Silence::Lost(backends(3)));
        assert_eq!(classify(backends(3), 11), Silence::MassFailure);
        assert_eq!(classify(backends(0), 0), Silence::Lost(vec![]));
    }
}
