//! The heartbeat registry: what the machines said last, and when this replica heard it.
//!
//! In: heartbeats (core NATS, not stored). Out: the last one of each machine with the moment it was heard on a
//! monotonic clock, and a nudge for the judge. What isn't in the log (load, last seen) comes from here and never gets
//! into a read model, so that rebuilds stay equal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use dockhost_domain::ids::BackendId;
use dockhost_domain::subject::{ALL_HEARTBEATS, Channel};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::Heartbeat;
use futures::StreamExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::common::clock;

/// One machine's last sign of life.
#[derive(Debug, Clone)]
pub struct LastHeartbeat {
    /// When it was heard, on this process's monotonic clock.
    pub received: Instant,
    /// The same moment for people.
    pub received_at: Timestamp,
    /// What it said.
    pub heartbeat: Heartbeat,
}

/// What the machines said last.
pub struct HeartbeatRegistry {
    state: Mutex<State>,
    recorded: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    last: BTreeMap<BackendId, LastHeartbeat>,
    /// Recorded since the judge asked last: a heartbeat must not cost a look at every machine.
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

    /// The last sign of one machine.
    pub fn last(&self, backend: BackendId) -> Option<LastHeartbeat> {
        self.locked().last.get(&backend).cloned()
    }

    /// The last heartbeats of the machines heard since this was asked last.
    pub fn take_new(&self) -> Vec<(BackendId, LastHeartbeat)> {
        let State { last, new } = &mut *self.locked();
        std::mem::take(new).into_iter().filter_map(|id| last.get(&id).map(|last| (id, last.clone()))).collect()
    }

    /// Changes with each heartbeat.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.recorded.subscribe()
    }

    /// Notes a heartbeat.
    pub fn record(&self, backend: BackendId, heartbeat: Heartbeat) {
        let last_heartbeat = LastHeartbeat { received: Instant::now(), received_at: clock::now(), heartbeat };
        let mut state = self.locked();
        state.last.insert(backend, last_heartbeat);
        state.new.insert(backend);
        drop(state);
        self.recorded.send_modify(|recorded| *recorded += 1);
    }

    /// Listens until cancelled. The client subscribes anew by itself after a reconnect.
    ///
    /// # Errors
    /// The subscription could not be made.
    pub async fn run(
        self: Arc<Self>,
        client: async_nats::Client,
        cancel: CancellationToken,
    ) -> Result<(), async_nats::SubscribeError> {
        let mut messages = client.subscribe(ALL_HEARTBEATS).await?;
        while let Some(Some(message)) = cancel.run_until_cancelled(messages.next()).await {
            match (message.subject.parse(), serde_json::from_slice(&message.payload)) {
                (Ok(Channel::Heartbeat(backend)), Ok(heartbeat)) => self.record(backend, heartbeat),
                (channel, heartbeat) => {
                    let readable = heartbeat.is_ok();
                    tracing::warn!(?channel, readable, "a heartbeat that can't be read");
                }
            }
        }
        Ok(())
    }
}
