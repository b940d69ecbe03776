//! The gate for everything that agents send to this replica: it drops what is beyond a backend's limits, and refuses a
//! backend that floods.
//!
//! Every replica refuses it: its connections are closed, and the auth callout does not accept its key for
//! [`REFUSED_FOR`]. [`super::flood_guard`] does so for all replicas.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::reported::Malformed;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::agent_limits::{AgentLimits, AgentMessage, Treatment};
use super::dropped::{DroppedMessages, OtherAgent};

/// How long the key of a backend that floods is refused.
pub const REFUSED_FOR: Duration = Duration::from_secs(60);

/// Decides about each message of an agent.
#[derive(Debug, Default)]
pub struct AgentGate {
    state: Mutex<State>,
    flooded: Notify,
    malformed: DroppedMessages<Malformed>,
    of_other_agents: DroppedMessages<OtherAgent>,
}

#[derive(Debug, Default)]
struct State {
    limits: AgentLimits,
    refused_until: HashMap<BackendId, Instant>,
    /// Backends that flood and are not dealt with yet.
    floods: Vec<BackendId>,
    /// Messages dropped since the last [`AgentGate::take_dropped`].
    dropped: BTreeMap<BackendId, u64>,
    dropped_in_all: u64,
}

impl State {
    fn count_dropped(&mut self, backend: BackendId) {
        *self.dropped.entry(backend).or_default() += 1;
        self.dropped_in_all += 1;
    }

    fn is_refused(&self, backend: BackendId, now: Instant) -> bool {
        self.refused_until.get(&backend).is_some_and(|until| now < *until)
    }
}

/// What the gate has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateCounts {
    /// Backends whose keys are refused now.
    pub refused: usize,
    /// Messages that this replica has dropped since its start.
    pub dropped: u64,
}

impl AgentGate {
    /// The messages that were accepted and could not be read.
    pub const fn malformed(&self) -> &DroppedMessages<Malformed> {
        &self.malformed
    }

    /// The messages of agents that have the key of a backend that another agent holds.
    pub const fn of_other_agents(&self) -> &DroppedMessages<OtherAgent> {
        &self.of_other_agents
    }

    /// Logs what was dropped after a flood has ended, until cancelled.
    pub async fn log_dropped(&self, cancel: CancellationToken) {
        tokio::join!(self.malformed.run(cancel.clone()), self.of_other_agents.run(cancel));
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to process a message, which was not read yet.
    pub fn accepts(&self, backend: BackendId, message: AgentMessage) -> bool {
        self.accepts_at(backend, message, Instant::now())
    }

    fn accepts_at(&self, backend: BackendId, message: AgentMessage, now: Instant) -> bool {
        let state = &mut *self.locked();
        let treatment = if state.is_refused(backend, now) {
            Treatment::Dropped
        } else {
            state.limits.classify(backend, message, now)
        };
        if treatment == Treatment::Accepted {
            return true;
        }
        state.count_dropped(backend);
        if treatment == Treatment::Flooding {
            state.refused_until.insert(backend, now + REFUSED_FOR);
            state.floods.push(backend);
            self.flooded.notify_one();
        }
        false
    }

    /// How long a report about this generation of an instance must wait before it is processed; ask again then. `None` if
    /// it need not: then it is counted.
    pub fn report_wait(&self, backend: BackendId, instance: (InstanceId, u32)) -> Option<Duration> {
        self.locked().limits.report_wait(backend, instance, Instant::now())
    }

    /// Counts a report about an instance that the log does not know.
    pub fn count_unknown_instance(&self, backend: BackendId) {
        self.locked().limits.count_unknown_instance(backend, Instant::now());
    }

    /// Waits for a backend that floods; each flood is returned once.
    pub async fn next_flood(&self) -> BackendId {
        loop {
            let next = self.locked().floods.pop();
            match next {
                Some(backend) => return backend,
                None => self.flooded.notified().await,
            }
        }
    }

    /// Whether the backend's key is refused now.
    pub fn is_refused(&self, backend: BackendId) -> bool {
        self.locked().is_refused(backend, Instant::now())
    }

    /// Whether to drop a message because its backend is refused now; then it is counted.
    pub fn drops(&self, backend: BackendId) -> bool {
        let state = &mut *self.locked();
        let refused = state.is_refused(backend, Instant::now());
        if refused {
            state.count_dropped(backend);
        }
        refused
    }

    /// Refuses a backend for [`REFUSED_FOR`].
    pub fn refuse(&self, backend: BackendId) {
        self.locked().refused_until.insert(backend, Instant::now() + REFUSED_FOR);
    }

    /// The messages that were dropped since the last call, by backend. Forgets what is over.
    pub fn take_dropped(&self) -> BTreeMap<BackendId, u64> {
        let (state, now) = (&mut *self.locked(), Instant::now());
        state.limits.forget_idle(now);
        state.refused_until.retain(|_, until| now < *until);
        std::mem::take(&mut state.dropped)
    }

    /// What the gate has done.
    pub fn counts(&self) -> GateCounts {
        let (state, now) = (self.locked(), Instant::now());
        let refused = state.refused_until.values().filter(|until| now < **until).count();
        GateCounts { refused, dropped: state.dropped_in_all }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn accepts_flooding_backend_is_refused_once_and_later_accepted_again() {
        let gate = AgentGate::default();
        let (ada, bob) = (BackendId::from_uuid(Uuid::from_u128(1)), BackendId::from_uuid(Uuid::from_u128(2)));
        let now = Instant::now();
        while gate.counts().refused == 0 {
            gate.accepts_at(ada, AgentMessage::Heartbeat, now);
        }
        assert_eq!(gate.next_flood().now_or_never(), Some(ada));
        assert!(gate.is_refused(ada) && !gate.is_refused(bob));
        assert!(!gate.accepts_at(ada, AgentMessage::Hello, now), "all messages of a refused backend are dropped");
        assert!(gate.accepts_at(bob, AgentMessage::Heartbeat, now));
        assert!(gate.next_flood().now_or_never().is_none(), "one flood is told once");
        let dropped = gate.take_dropped();
        assert_eq!(dropped.keys().collect::<Vec<_>>(), [&ada]);
        assert_eq!(dropped.values().sum::<u64>(), gate.counts().dropped);
        assert!(gate.take_dropped().is_empty());
        assert!(gate.accepts_at(ada, AgentMessage::Heartbeat, now + REFUSED_FOR));
    }
}
