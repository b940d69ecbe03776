//! The heartbeat registry: the last heartbeat of each backend and when this replica received it.
//!
//! Heartbeats (core NATS) are not stored. Load and last-seen times come from here and never enter a read model, so a
//! rebuild gives the same documents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dockhost_domain::ids::{AgentRunId, BackendId, InstanceId};
use dockhost_domain::node_choice::MAX_SILENCE;
use dockhost_domain::placement::Ineligible;
use dockhost_domain::reported;
use dockhost_domain::subject::{ALL_HEARTBEATS, Channel};
use dockhost_domain::tenancy::SshSeen;
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::{Heartbeat, HeartbeatAnswer, MachineSize};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::presence::{HEARTBEAT_INTERVAL, Heard, Presence};
use crate::broker::agent_gate::AgentGate;
use crate::broker::agent_limits::AgentMessage;
use crate::broker::dropped::{MessageKind, OtherAgent};
use crate::broker::hello::Heartbeats;
use crate::broker::holders::Holders;
use crate::broker::key_holder::{Heard as HeardHolder, LastHeard};
use crate::broker::streams::incarnation::LastSeen;
use crate::broker::write_proof::WriteProof;
use crate::common::clock;

/// How often the registry checks that it can receive heartbeats.
const LISTENING_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A heartbeat that is older says nothing about the connections now.
const MAX_AGE_FOR_CONNECTIONS: Duration = Duration::from_secs(15);

/// The last heartbeat of one backend.
#[derive(Debug, Clone)]
pub struct LastHeartbeat {
    /// When it was received, on this process's monotonic clock.
    pub received: Instant,
    /// When it was received, as wall-clock time.
    pub received_at: Timestamp,
    /// Its content.
    pub heartbeat: Heartbeat,
}

impl LastHeartbeat {
    /// How far the machine's clock was ahead when it was sent, in milliseconds, less the time that it took to arrive.
    #[must_use]
    pub const fn clock_ahead_millis(&self) -> i64 {
        self.heartbeat.at.millis().saturating_sub(self.received_at.millis())
    }
}

/// What a backend's heartbeats say now.
#[derive(Debug, Clone)]
pub struct MachineNow {
    /// Whether it is heard.
    pub presence: Presence,
    /// Why it could not take an instance at its last heartbeat.
    pub obstacle: Option<Ineligible>,
    /// Its capacity, as its agent is configured.
    pub max_containers: Option<u32>,
    /// The run of its agent.
    pub run: Option<AgentRunId>,
    /// What its machine has for instances.
    pub size: Option<MachineSize>,
}

/// The last heartbeat of each backend.
pub struct HeartbeatRegistry {
    lost_after: Duration,
    state: Mutex<State>,
    /// The number of heartbeats recorded.
    recorded: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    last: BTreeMap<BackendId, LastHeartbeat>,
    /// Backends with a heartbeat since the last [`HeartbeatRegistry::take_new`].
    new: BTreeSet<BackendId>,
    /// Since when heartbeats can be received without a gap.
    listening_since: Option<Instant>,
    /// When that was checked last.
    last_check: Option<Instant>,
}

impl State {
    fn heard(&self, backend: BackendId, now: Instant) -> Heard {
        let last = self.last.get(&backend).map(|last| last.received);
        Heard { last, listening_since: self.listening_since(now) }
    }

    /// A process that was paused received nothing meanwhile, and does not listen before its next check.
    fn listening_since(&self, now: Instant) -> Option<Instant> {
        if self.was_paused(now) { None } else { self.listening_since }
    }

    fn was_paused(&self, now: Instant) -> bool {
        let since = |check| now.saturating_duration_since(check);
        self.last_check.is_some_and(|check| since(check) > LISTENING_CHECK_INTERVAL * 3)
    }

    fn check(&mut self, connected: bool, now: Instant) {
        if !connected || self.was_paused(now) {
            self.listening_since = Some(now);
        }
        self.last_check = Some(now);
    }
}

impl Heartbeats for HeartbeatRegistry {
    fn heard(&self, backend: BackendId) -> HeardHolder {
        let (state, now) = (self.locked(), Instant::now());
        let last = state.last.get(&backend);
        HeardHolder {
            silence: state.heard(backend, now).silence(now),
            last: last.and_then(|last| {
                let Heartbeat { agent_run, leaving, .. } = last.heartbeat;
                Some(LastHeard { run: agent_run?, at: last.received_at, is_leaving: leaving })
            }),
        }
    }
}

impl Default for HeartbeatRegistry {
    fn default() -> Self {
        Self::new(Duration::from_secs(15))
    }
}

impl HeartbeatRegistry {
    /// A registry that does not listen yet. A backend that is silent for `lost_after` counts as lost.
    pub fn new(lost_after: Duration) -> Self {
        Self { lost_after, state: Mutex::default(), recorded: watch::channel(0).0 }
    }

    /// The silence after which a backend counts as lost.
    pub const fn lost_after(&self) -> Duration {
        self.lost_after
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last heartbeat of one backend.
    pub fn last(&self, backend: BackendId) -> Option<LastHeartbeat> {
        self.locked().last.get(&backend).cloned()
    }

    /// What a backend's agent has seen of an instance's SSH connections; `None` if it watches none, or is not heard.
    pub fn ssh_seen(&self, backend: BackendId, instance: InstanceId) -> Option<SshSeen> {
        let state = self.locked();
        let last = state.last.get(&backend).filter(|last| last.received.elapsed() < MAX_AGE_FOR_CONNECTIONS)?;
        let watch = last.heartbeat.ssh_connections.as_ref()?.get(instance)?;
        let looked_at = last.received_at;
        let before = |seconds: u32| Timestamp::from_millis(looked_at.millis() - i64::from(seconds) * 1000);
        Some(SshSeen {
            looked_at,
            watched_since: before(watch.watched_seconds),
            connected_at: watch.connected_seconds_ago.map(before),
        })
    }

    /// What a backend's heartbeats say now.
    pub fn now(&self, backend: BackendId) -> MachineNow {
        let state = self.locked();
        let now = Instant::now();
        let presence = state.heard(backend, now).presence(now, self.lost_after);
        let heartbeat = state.last.get(&backend).map(|last| &last.heartbeat);
        MachineNow {
            presence,
            obstacle: heartbeat.and_then(|heartbeat| Ineligible::of(&heartbeat.machine)),
            max_containers: heartbeat.map(|heartbeat| heartbeat.max_containers),
            run: heartbeat.and_then(|heartbeat| heartbeat.agent_run),
            size: heartbeat.and_then(|heartbeat| heartbeat.size),
        }
    }

    /// For how long this replica has listened and not heard a backend; `None` if it does not listen.
    pub fn silence(&self, backend: BackendId) -> Option<Duration> {
        let now = Instant::now();
        self.locked().heard(backend, now).silence(now)
    }

    /// Begins to count silence anew: from now on heartbeats can be received.
    pub fn begin_listening(&self) {
        self.locked().listening_since = Some(Instant::now());
    }

    /// How long it takes until every agent that runs has been heard once since this replica began to listen.
    pub fn time_to_settle(&self) -> Duration {
        let since = self.locked().listening_since(Instant::now());
        let listening = since.map_or(Duration::ZERO, |since| since.elapsed());
        HEARTBEAT_INTERVAL.saturating_sub(listening)
    }

    /// The last heartbeat of each backend that sent one since the previous call.
    pub fn take_new(&self) -> Vec<(BackendId, LastHeartbeat)> {
        let State { last, new, .. } = &mut *self.locked();
        std::mem::take(new).into_iter().filter_map(|id| last.get(&id).map(|last| (id, last.clone()))).collect()
    }

    /// A receiver that changes with each heartbeat.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.recorded.subscribe()
    }

    /// Records a heartbeat.
    pub fn record(&self, backend: BackendId, heartbeat: Heartbeat) {
        let last_heartbeat = LastHeartbeat { received: Instant::now(), received_at: clock::now(), heartbeat };
        let mut state = self.locked();
        state.last.insert(backend, last_heartbeat);
        state.new.insert(backend);
        drop(state);
        self.recorded.send_modify(|recorded| *recorded += 1);
    }

    /// Records the heartbeats of the backends' holders until cancelled, and answers them while the broker stores. After a
    /// reconnect the client restores the subscription.
    ///
    /// # Errors
    /// The subscription could not be made.
    pub async fn run(
        self: Arc<Self>,
        client: async_nats::Client,
        gate: Arc<AgentGate>,
        holders: Arc<Holders>,
        (proof, reports): (Arc<WriteProof>, Arc<LastSeen>),
        cancel: CancellationToken,
    ) -> Result<(), async_nats::SubscribeError> {
        let mut messages = client.subscribe(ALL_HEARTBEATS).await?;
        self.begin_listening();
        let mut check = tokio::time::interval(LISTENING_CHECK_INTERVAL);
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Heartbeats of runs that are not known to hold their backend.
        let (mut questions, holders) = (FuturesUnordered::new(), &*holders);
        loop {
            let message = tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                message = messages.next() => message,
                Some((backend, heartbeat, counts)) = questions.next() => {
                    if counts {
                        self.record(backend, heartbeat);
                    } else {
                        gate.of_other_agents().record(backend, MessageKind::Heartbeat, OtherAgent);
                    }
                    continue;
                }
                _ = check.tick() => {
                    let connected = client.connection_state() == async_nats::connection::State::Connected;
                    self.locked().check(connected, Instant::now());
                    continue;
                }
            };
            let Some(message) = message else { return Ok(()) };
            // The broker allows a backend only its own subject, so there is no other one.
            let Ok(Channel::Heartbeat(backend)) = message.subject.parse() else { continue };
            if !gate.accepts(backend, AgentMessage::Heartbeat) {
                continue;
            }
            // The agent asks whether the broker works where it is.
            if let Some(reply) = message.reply.clone().filter(|_| proof.age() < MAX_SILENCE) {
                // Fails only if the client is closed.
                let answer = HeartbeatAnswer { reports_created_at: reports.created_at() };
                let _ = client.publish(reply, serde_json::to_vec(&answer).unwrap_or_default().into()).await;
            }
            match reported::parse::<Heartbeat>(&message.payload) {
                Ok(heartbeat) if holders.is_known_holder(backend, heartbeat.agent_run) => {
                    self.record(backend, heartbeat);
                }
                Ok(heartbeat) => questions.push(async move {
                    // If the broker does not answer, the next heartbeat may count.
                    let counts = holders.counts(backend, heartbeat.agent_run).await.unwrap_or(false);
                    (backend, heartbeat, counts)
                }),
                Err(malformed) => gate.malformed().record(backend, MessageKind::Heartbeat, malformed),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn state_after_a_pause_does_not_listen_until_its_next_check() {
        let (backend, start) = (BackendId::from_uuid(Uuid::from_u128(1)), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut state = State { listening_since: Some(start), ..State::default() };
        let silence = |state: &State, seconds| {
            state.heard(backend, at(seconds)).silence(at(seconds)).map(|silence| silence.as_secs())
        };
        for second in 0..=10 {
            state.check(true, at(second));
        }
        assert_eq!(silence(&state, 12), Some(12));
        assert_eq!(silence(&state, 60), None, "it was paused");
        state.check(true, at(60));
        assert_eq!([61, 62].map(|second| silence(&state, second)), [Some(1), Some(2)]);
        state.check(false, at(62));
        assert_eq!(silence(&state, 63), Some(1), "it was cut off");
    }
}
