//! The heartbeat registry: the last heartbeat of each backend and when this replica received it.
//!
//! Heartbeats (core NATS) are not stored. Load and last-seen times come from here and never enter a read model, so a
//! rebuild gives the same documents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use dockhost_domain::ids::BackendId;
use dockhost_domain::reported;
use dockhost_domain::subject::{ALL_HEARTBEATS, Channel};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::Heartbeat;
use futures::StreamExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::broker::agent_gate::AgentGate;
use crate::broker::agent_limits::AgentMessage;
use crate::broker::dropped::MessageKind;
use crate::common::clock;

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

/// The last heartbeat of each backend.
pub struct HeartbeatRegistry {
    state: Mutex<State>,
    /// The number of heartbeats recorded.
    recorded: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    last: BTreeMap<BackendId, LastHeartbeat>,
    /// Backends with a heartbeat since the last [`HeartbeatRegistry::take_new`].
    new: BTreeSet<BackendId>,
}

impl Default for HeartbeatRegistry {
    fn default() -> Self {
        Self { state: Mutex::default(), recorded: watch::channel(0).0 }
    }
}

impl HeartbeatRegistry {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last heartbeat of one backend.
    pub fn last(&self, backend: BackendId) -> Option<LastHeartbeat> {
        self.locked().last.get(&backend).cloned()
    }

    /// The last heartbeat of each backend that sent one since the previous call.
    pub fn take_new(&self) -> Vec<(BackendId, LastHeartbeat)> {
        let State { last, new } = &mut *self.locked();
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

    /// Records heartbeats until cancelled. After a reconnect the client restores the subscription.
    ///
    /// # Errors
    /// The subscription could not be made.
    pub async fn run(
        self: Arc<Self>,
        client: async_nats::Client,
        gate: Arc<AgentGate>,
        cancel: CancellationToken,
    ) -> Result<(), async_nats::SubscribeError> {
        let mut messages = client.subscribe(ALL_HEARTBEATS).await?;
        while let Some(Some(message)) = cancel.run_until_cancelled(messages.next()).await {
            // The broker allows a backend only its own subject, so there is no other one.
            let Ok(Channel::Heartbeat(backend)) = message.subject.parse() else { continue };
            if !gate.accepts(backend, AgentMessage::Heartbeat) {
                continue;
            }
            match reported::parse(&message.payload) {
                Ok(heartbeat) => self.record(backend, heartbeat),
                Err(malformed) => gate.malformed().record(backend, MessageKind::Heartbeat, malformed),
            }
        }
        Ok(())
    }
}
