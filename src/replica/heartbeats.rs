//! Presence: what the machines said last, and when this replica heard it.
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
pub struct Sign {
    /// When it was heard, on this process's monotonic clock.
    pub heard: Instant,
    /// The same moment for people.
    pub at: Timestamp,
    /// What it said.
    pub heartbeat: Heartbeat,
}

/// What the machines said last.
pub struct Presence {
    heard: Mutex<Heard>,
    beats: watch::Sender<u64>,
}

#[derive(Default)]
struct Heard {
    signs: BTreeMap<BackendId, Sign>,
    /// Heard since the judge asked last: a heartbeat must not cost a look at every machine.
    news: BTreeSet<BackendId>,
}

impl Default for Presence {
    fn default() -> Self {
        Self { heard: Mutex::default(), beats: watch::channel(0).0 }
    }
}

impl Presence {
    fn locked(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last sign of one machine.
    pub fn sign(&self, backend: BackendId) -> Option<Sign> {
        self.locked().signs.get(&backend).cloned()
    }

    /// The last signs of the machines heard since this was asked last.
    pub fn news(&self) -> Vec<(BackendId, Sign)> {
        let Heard { signs, news } = &mut *self.locked();
        std::mem::take(news).into_iter().filter_map(|id| signs.get(&id).map(|sign| (id, sign.clone()))).collect()
    }

    /// Changes with each heartbeat.
    pub fn beats(&self) -> watch::Receiver<u64> {
        self.beats.subscribe()
    }

    /// Notes a heartbeat.
    pub fn note(&self, backend: BackendId, heartbeat: Heartbeat) {
        let sign = Sign { heard: Instant::now(), at: clock::now(), heartbeat };
        let mut heard = self.locked();
        heard.signs.insert(backend, sign);
        heard.news.insert(backend);
        drop(heard);
        self.beats.send_modify(|beats| *beats += 1);
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
                (Ok(Channel::Heartbeat(backend)), Ok(heartbeat)) => self.note(backend, heartbeat),
                (channel, heartbeat) => {
                    let readable = heartbeat.is_ok();
                    tracing::warn!(?channel, readable, "a heartbeat that can't be read");
                }
            }
        }
        Ok(())
    }
}
