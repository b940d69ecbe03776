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
use crate::replica::heartbeats::{Presence, Sign};

/// How often silence is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Fewer machines than this may always be judged: with two machines, one is half of them.
const FEW: usize = 3;

/// What the judge says of machines that are silent for too long.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// These are lost.
    Lost(Vec<BackendId>),
    /// Too many at once.
    Alarm,
}

/// Judges: `silent` are the connected machines beyond the limit, out of `connected`.
fn judge(silent: Vec<BackendId>, connected: usize) -> Verdict {
    if silent.len() >= FEW && silent.len() * 4 > connected { Verdict::Alarm } else { Verdict::Lost(silent) }
}

/// The role.
pub struct Liveness {
    /// Runs the commands.
    pub executor: Arc<Executor>,
    /// Knows which machines count as connected.
    pub follower: Arc<Follower>,
    /// Knows what was heard.
    pub presence: Arc<Presence>,
    /// Tells whether this replica could hear anything.
    pub client: async_nats::Client,
    /// A machine that was silent for longer is lost.
    pub lost_after: Duration,
}

impl Liveness {
    /// Judges until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let mut beats = self.presence.beats();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Silence before this moment is not held against anybody.
        let mut hearing_since = Instant::now();
        let mut last_look = Instant::now();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = beats.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.connect_those_heard().await;
                }
                _ = look.tick() => {
                    let connected = self.client.connection_state() == async_nats::connection::State::Connected;
                    // A paused process has heard nothing either.
                    if !connected || !self.follower.is_live() || last_look.elapsed() > LOOK * 3 {
                        hearing_since = Instant::now();
                    }
                    last_look = Instant::now();
                    self.lose_those_silent(hearing_since).await;
                }
            }
        }
    }

    async fn connect_those_heard(&self) {
        for (backend, sign) in self.presence.news() {
            if sign.heard.elapsed() < self.lost_after {
                self.connect(backend, sign).await;
            }
        }
    }

    async fn connect(&self, backend: BackendId, sign: Sign) {
        let facts = Connected {
            address: sign.heartbeat.address.into(),
            runtime: sign.heartbeat.runtime,
            agent_version: sign.heartbeat.agent_version,
        };
        // Nothing can be recorded of it here; said once, by the follower.
        if self.is_frozen(backend) {
            return;
        }
        let known = self
            .follower
            .machines()
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

    async fn lose_those_silent(&self, hearing_since: Instant) {
        let connected: Vec<BackendId> =
            self.follower.machines().candidates().iter().filter(|c| c.connected).map(|c| c.backend_id).collect();
        let silence = |backend: &BackendId| {
            let heard = self.presence.sign(*backend).map_or(hearing_since, |sign| sign.heard.max(hearing_since));
            heard.elapsed()
        };
        let silent = connected.iter().filter(|backend| silence(backend) > self.lost_after).copied().collect();
        match judge(silent, connected.len()) {
            Verdict::Alarm => {
                tracing::error!("many backends fell silent together: nothing is moved until this is understood");
            }
            Verdict::Lost(silent) => {
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
        assert_eq!(judge(machines(1), 1), Verdict::Lost(machines(1)));
        assert_eq!(judge(machines(2), 2), Verdict::Lost(machines(2)));
        assert_eq!(judge(machines(3), 12), Verdict::Lost(machines(3)));
        assert_eq!(judge(machines(3), 11), Verdict::Alarm);
        assert_eq!(judge(machines(0), 0), Verdict::Lost(vec![]));
    }
}
