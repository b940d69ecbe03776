//! The snapshot store in memory, with the same rule as MongoDB's and with failures that tests can choose.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dockhost_domain::subject::AggregateId;
use dockhost_projections::store::Snapshot;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::SnapshotStore;
use crate::common::error::Cause;

/// How the store answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StoreHealth {
    /// Normally.
    #[default]
    Healthy,
    /// With an error.
    Failing,
    /// Never.
    Hanging,
}

#[derive(Debug, Default)]
struct State {
    snapshots: HashMap<String, Snapshot>,
    health: StoreHealth,
    lookups: usize,
}

/// Snapshots in memory.
#[derive(Debug, Default)]
pub struct MemorySnapshotStore(Mutex<State>);

impl MemorySnapshotStore {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how the store answers from now on.
    pub fn set_health(&self, health: StoreHealth) {
        self.state().health = health;
    }

    /// The number of lookups so far.
    #[must_use]
    pub fn lookups(&self) -> usize {
        self.state().lookups
    }

    /// The aggregate's snapshot, whatever the store's health.
    #[must_use]
    pub fn stored(&self, aggregate: AggregateId) -> Option<Snapshot> {
        self.state().snapshots.get(&aggregate.to_string()).cloned()
    }

    /// Stores a snapshot unconditionally.
    pub fn plant(&self, snapshot: Snapshot) {
        self.state().snapshots.insert(snapshot.subject.clone(), snapshot);
    }

    /// The state; an error or `None` if the store is failing or hanging.
    fn healthy_state(&self) -> Option<Result<MutexGuard<'_, State>, Cause>> {
        let state = self.state();
        match state.health {
            StoreHealth::Healthy => Some(Ok(state)),
            StoreHealth::Failing => Some(Err("injected failure".into())),
            StoreHealth::Hanging => None,
        }
    }
}

impl SnapshotStore for MemorySnapshotStore {
    fn get(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<Option<Snapshot>, Cause>> {
        self.state().lookups += 1;
        let Some(state) = self.healthy_state() else { return futures::future::pending().boxed() };
        let found = state.map(|state| state.snapshots.get(&aggregate.to_string()).cloned());
        async move { found }.boxed()
    }

    fn put(&self, snapshot: Snapshot) -> BoxFuture<'_, Result<(), Cause>> {
        let Some(state) = self.healthy_state() else { return futures::future::pending().boxed() };
        let outcome = state.map(|mut state| {
            let is_newer = |stored: &Snapshot| {
                (&stored.incarnation, stored.fold_version) == (&snapshot.incarnation, snapshot.fold_version)
                    && stored.sequence >= snapshot.sequence
            };
            if !state.snapshots.get(&snapshot.subject).is_some_and(is_newer) {
                state.snapshots.insert(snapshot.subject.clone(), snapshot);
            }
        });
        async move { outcome }.boxed()
    }
}
