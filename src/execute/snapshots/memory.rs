//! Snapshots in memory: the same rule as the database's, with faults to order.
//!
//! In: the port's calls, and how the store should be. Out: the port's answers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dockhost_domain::subject::AggregateId;
use dockhost_projections::store::Snapshot;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::Snapshots;
use crate::event_log::Cause;

/// How the store is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mood {
    /// It answers.
    #[default]
    Well,
    /// It refuses.
    Away,
    /// It never answers.
    Silent,
}

#[derive(Debug, Default)]
struct State {
    kept: HashMap<String, Snapshot>,
    mood: Mood,
    asked: usize,
}

/// Snapshots in memory.
#[derive(Debug, Default)]
pub struct MemorySnapshots(Mutex<State>);

impl MemorySnapshots {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it is from now on.
    pub fn set_mood(&self, mood: Mood) {
        self.state().mood = mood;
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
        match state.mood {
            Mood::Well => Some(Ok(state)),
            Mood::Away => Some(Err("ordered by a test".into())),
            Mood::Silent => None,
        }
    }
}

impl Snapshots for MemorySnapshots {
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
