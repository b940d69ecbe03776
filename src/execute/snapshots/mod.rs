//! Snapshots: saved states of long aggregates, so that a cold load reads only the later events.
//!
//! A snapshot is an optimisation only: before using one, the executor checks that the log has the snapshot's last
//! event. Whole states are sealed under the owner's key, so that destroying the key ends them as well. Claims are short
//! and have no owner, so they have no snapshots.
//!
//! The store is MongoDB, on which commands must not depend: lookups have a timeout, and after a failure the store is
//! not used for a while. Snapshots are written in the background, one at a time; one that cannot be written is dropped.

#[cfg(any(test, feature = "testing"))]
pub mod memory;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::idempotency::RecentRequests;
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::AggregateId;
use dockhost_projections::MongoStore;
use dockhost_projections::store::Snapshot;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::cache::CachedState;
use crate::common::error::Cause;
use crate::sealing::Keyring;
use writer::SnapshotRequest;

pub use writer::{MAX_SEALED_BYTES, SnapshotWriter};

/// Snapshots that wait to be written; each holds a state in memory.
const MAX_QUEUED_SNAPSHOTS: usize = 16;
/// How long the store is not used after a failure.
const STORE_COOLDOWN: Duration = Duration::from_secs(3);

/// The store of snapshots: the newest one per aggregate.
pub trait SnapshotStore: Send + Sync + 'static {
    /// The aggregate's snapshot.
    fn get(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<Option<Snapshot>, Cause>>;

    /// Stores a snapshot, unless the stored one is of the same log and fold version and at least as new.
    fn put(&self, snapshot: Snapshot) -> BoxFuture<'_, Result<(), Cause>>;
}

/// These futures may be dropped: the driver's work runs in tasks of its own.
impl SnapshotStore for MongoStore {
    fn get(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<Option<Snapshot>, Cause>> {
        async move { Ok(self.snapshot(&aggregate.to_string()).await?) }.boxed()
    }

    fn put(&self, snapshot: Snapshot) -> BoxFuture<'_, Result<(), Cause>> {
        async move { Ok(self.save_snapshot(snapshot).await?) }.boxed()
    }
}

/// How snapshots are used.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotOptions {
    /// Events between two snapshots of an aggregate.
    pub interval: u32,
    /// How long a load waits for a snapshot. Reading a few thousand events takes about as long.
    pub lookup_timeout: Duration,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self { interval: 500, lookup_timeout: Duration::from_millis(250) }
    }
}

/// Looks up snapshots, and queues states for the writer.
pub struct SnapshotManager {
    store: Arc<dyn SnapshotStore>,
    keyring: Arc<Keyring>,
    incarnation: Incarnation,
    options: SnapshotOptions,
    queue: mpsc::Sender<SnapshotRequest>,
    /// The end of the cooldown after a failure of the store.
    cooldown_until: Mutex<Option<Instant>>,
}

impl SnapshotManager {
    /// A manager for one log, and its writer, which must run for snapshots to be written.
    pub fn new(
        store: Arc<dyn SnapshotStore>,
        keyring: Arc<Keyring>,
        incarnation: Incarnation,
        options: SnapshotOptions,
    ) -> (Arc<Self>, SnapshotWriter) {
        let (queue, requests) = mpsc::channel(MAX_QUEUED_SNAPSHOTS);
        let manager = Arc::new(Self { store, keyring, incarnation, options, queue, cooldown_until: Mutex::default() });
        (Arc::clone(&manager), SnapshotWriter::new(manager, requests))
    }

    /// The state in the aggregate's snapshot, if it is of this log and fold version. The caller checks it against the
    /// log.
    pub(super) async fn find<A: Aggregate>(&self, id: A::Id) -> Option<CachedState<A>> {
        let aggregate = A::subject(id);
        let principal = aggregate.sealed_under()?;
        if self.is_cooling_down() {
            return None;
        }
        let found = match timeout(self.options.lookup_timeout, self.store.get(aggregate)).await {
            Ok(Ok(found)) => found?,
            Ok(Err(error)) => return self.record_failure(&*error),
            Err(elapsed) => return self.record_failure(&elapsed),
        };
        if found.incarnation != self.incarnation || found.fold_version != A::FOLD_VERSION {
            return None;
        }
        let cipher = self.keyring.for_opening(principal).await.ok()?;
        // A large state would occupy a thread of the runtime for too long.
        let opened = tokio::task::spawn_blocking(move || {
            let plain = cipher.open(&binding(&found), &found.state)?;
            let Plain { state, requests } = serde_json::from_slice::<Plain<A, RecentRequests>>(&plain).ok()?;
            Some(CachedState::from_snapshot((state, requests), found.sequence, found.events, found.event))
        });
        let cached = opened.await.ok().flatten();
        if cached.is_none() {
            tracing::debug!(%aggregate, "snapshot ignored: it does not open");
        }
        cached
    }

    /// Queues a state to be written, unless the queue is full.
    pub(super) fn offer<A: Aggregate>(&self, id: A::Id, cached: &CachedState<A>) {
        if let Some(request) = SnapshotRequest::of(id, cached)
            && self.queue.try_send(request).is_err()
        {
            tracing::debug!(aggregate = %A::subject(id), "snapshot dropped: the queue is full");
        }
    }

    /// Events between two snapshots of an aggregate.
    pub(super) fn interval(&self) -> u32 {
        self.options.interval
    }

    fn is_cooling_down(&self) -> bool {
        self.cooldown_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until)
    }

    /// Starts the cooldown, so that not every load waits for a store that is slow or unavailable.
    fn record_failure<T>(&self, error: &dyn std::fmt::Display) -> Option<T> {
        *self.cooldown_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + STORE_COOLDOWN);
        tracing::debug!(%error, "snapshot store failed; loading from the log");
        None
    }
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Plain<State, Requests> {
    state: State,
    /// The last requests with an `Idempotency-Key`; null if there are none.
    requests: Option<Requests>,
}

/// What a sealed state is bound to, so that it does not open as the state of another aggregate, log, fold or event.
fn binding(of: &Snapshot) -> Vec<u8> {
    let Snapshot { subject, incarnation, fold_version, sequence, events, event, state: _ } = of;
    format!("dockhost.snapshot.v3\0{subject}\0{incarnation}\0{fold_version}\0{sequence}\0{events}\0{event}")
        .into_bytes()
}
