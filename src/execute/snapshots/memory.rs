//! Snapshots in memory: the same rule as the database's, with faults to order.
//!
//! In: the port's calls, and how the store should be. Out: the port's answers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dockhost_domain::subject::AggregateId;
use dockhost_projections::store::Snapshot;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::SnapshotStore;
use crate::common::error::Cause;

/// How the store is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StoreHealth {
    /// It answers.
    #[default]
    Healthy,
    /// It refuses.
    Failing,
    /// It never answers.
    Hanging,
}

#[derive(Debug, Default)]
struct State {
    kept: HashMap<String, Snapshot>,
    health: StoreHealth,
    asked: usize,
}

/// Snapshots in memory.
#[derive(Debug, Default)]
pub struct MemorySnapshotStore(Mutex<State>);

impl MemorySnapshotStore {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it is from now on.
    pub fn set_health(&self, health: StoreHealth) {
        self.state().health = health;
    }

    /// How often it was asked for a snapshot.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.state().asked
    }

    /// What is kept of an aggregate.
    #[must_use]
    pub fn kept(&self, aggregate: AggregateId) -> Option<Snapshot> {
        self.state().kept.get(&aggregate.to_string()).cloned()
    }

    /// Puts a snapshot in place, whatever was there.
    pub fn plant(&self, snapshot: Snapshot) {
        self.state().kept.insert(snapshot.subject.clone(), snapshot);
    }

    fn now(&self) -> Option<Result<MutexGuard<'_, State>, Cause>> {
        let state = self.state();
        match state.health {
            StoreHealth::Healthy => Some(Ok(state)),
            StoreHealth::Failing => Some(Err("ordered by a test".into())),
            StoreHealth::Hanging => None,
        }
    }
}

impl SnapshotStore for MemorySnapshotStore {
    fn get(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<Option<Snapshot>, Cause>> {
        self.state().asked += 1;
        let Some(answer) = self.now() else { return futures::future::pending().boxed() };
        let answer = answer.map(|state| state.kept.get(&aggregate.to_string()).cloned());
        async move { answer }.boxed()
    }

    fn put(&self, snapshot: Snapshot) -> BoxFuture<'_, Result<(), Cause>> {
        let Some(answer) = self.now() else { return futures::future::pending().boxed() };
        let answer = answer.map(|mut state| {
            let comparable = |kept: &&Snapshot| {
                (&kept.incarnation, kept.fold_version) == (&snapshot.incarnation, snapshot.fold_version)
            };
            let further = |kept: &Snapshot| kept.sequence >= snapshot.sequence;
            if !state.kept.get(&snapshot.subject).filter(comparable).is_some_and(further) {
                state.kept.insert(snapshot.subject.clone(), snapshot);
            }
        });
        async move { answer }.boxed()
    }
}
