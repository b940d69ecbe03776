//! Snapshots: the states of long aggregates, kept beside the log so that a cold load reads only what came after.
//!
//! In: states that are far beyond what was kept of them, from whichever replica notices. Out: the kept state, if it is
//! of this log, of this fold, and can be opened. A snapshot is never needed and never believed over the log: the reader
//! looks whether the log still has its last event, at its place, before it goes on from there. Whole states are sealed
//! under the owner's key, so that they end with it; claims are short and have no owner, so they have no snapshots.
//!
//! The store is MongoDB, which commands must not depend on: it is asked within a bound, and left alone for a while
//! after it failed. Writing is nobody's duty: one at a time, off the path, dropped when it can't be done.

#[cfg(any(test, feature = "testing"))]
pub mod memory;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::AggregateId;
use dockhost_projections::MongoStore;
use dockhost_projections::store::Snapshot;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::cache::CachedState;
use crate::common::error::Cause;
use crate::sealing::Keyring;
use writer::SnapshotRequest;

pub use writer::{MAX_SEALED_BYTES, SnapshotWriter};

/// Snapshots that wait to be written; each holds a state in memory.
const MAX_QUEUED_SNAPSHOTS: usize = 16;
/// After a failure the store is left alone for so long.
const STORE_COOLDOWN: Duration = Duration::from_secs(3);

/// Where snapshots are kept; one per aggregate, the newest.
pub trait SnapshotStore: Send + Sync + 'static {
    /// What is kept of an aggregate.
    fn get(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<Option<Snapshot>, Cause>>;

    /// Keeps a snapshot, unless one is kept that is as far or further by the same fold of the same log.
    fn put(&self, snapshot: Snapshot) -> BoxFuture<'_, Result<(), Cause>>;
}

/// Futures of the store may be dropped: what the driver does runs in tasks of its own.
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
    /// Events after which another one is worth its while.
    pub interval: u32,
    /// How long a load waits for one; reading the log instead takes about as long for a few thousand events.
    pub lookup_timeout: Duration,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self { interval: 500, lookup_timeout: Duration::from_millis(250) }
    }
}

/// Finds snapshots, and hands states on to be kept.
pub struct SnapshotManager {
    store: Arc<dyn SnapshotStore>,
    keyring: Arc<Keyring>,
    incarnation: Incarnation,
    options: SnapshotOptions,
    queue: mpsc::Sender<SnapshotRequest>,
    /// The store failed, and is left alone until then.
    cooldown_until: Mutex<Option<Instant>>,
}

impl SnapshotManager {
    /// A manager for one log, and the writer that must run for anything to be kept.
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

    /// The state that is kept of an aggregate. Whether the log agrees is for the caller to look.
    pub(super) async fn find<A: Aggregate>(&self, id: A::Id) -> Option<CachedState<A>> {
        let aggregate = A::subject(id);
        let principal = aggregate.sealed_under()?;
        if self.is_cooling_down() {
            return None;
        }
        let found = match timeout(self.options.lookup_timeout, self.store.get(aggregate)).await {
            Ok(Ok(found)) => found?,
            Ok(Err(error)) => return self.record_failure(&*error),
            Err(late) => return self.record_failure(&late),
        };
        if found.incarnation != self.incarnation || found.fold_version != A::FOLD_VERSION {
            return None;
        }
        let cipher = self.keyring.for_opening(principal).await.ok()?;
        // A large one takes longer than a task may hold a thread of the runtime.
        let opened = tokio::task::spawn_blocking(move || {
            let plain = cipher.open(&binding(&found), &found.state)?;
            let state = serde_json::from_slice::<A>(&plain).ok()?;
            Some(CachedState::from_snapshot(state, found.sequence, found.event))
        });
        let cached = opened.await.ok().flatten();
        if cached.is_none() {
            tracing::debug!(%aggregate, "a snapshot can't be opened; the log is read instead");
        }
        cached
    }

    /// Offers a state to be kept, if it is far enough beyond what was; whether it will be is left open.
    pub(super) fn offer<A: Aggregate>(&self, id: A::Id, cached: &CachedState<A>) {
        if let Some(request) = SnapshotRequest::of(id, cached)
            && self.queue.try_send(request).is_err()
        {
            tracing::debug!(aggregate = %A::subject(id), "too many snapshots wait; this one is left out");
        }
    }

    /// Events after which another snapshot is worth its while.
    pub(super) fn interval(&self) -> u32 {
        self.options.interval
    }

    fn is_cooling_down(&self) -> bool {
        self.cooldown_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until)
    }

    /// The store is away or slow: it is left alone for a while, so that not every load waits for it.
    fn record_failure<T>(&self, error: &dyn std::fmt::Display) -> Option<T> {
        *self.cooldown_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + STORE_COOLDOWN);
        tracing::debug!(%error, "snapshots can't be had; long aggregates are read from the log");
        None
    }
}

/// What a sealed state is bound to: nobody can pass it off as another's, or as of another moment.
fn binding(of: &Snapshot) -> Vec<u8> {
    let Snapshot { subject, incarnation, fold_version, sequence, event, state: _ } = of;
    format!("dockhost.snapshot.v1\0{subject}\0{incarnation}\0{fold_version}\0{sequence}\0{event}").into_bytes()
}
