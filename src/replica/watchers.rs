//! Wake-ups for whoever waits for an aggregate to change.
//!
//! In: the aggregates of events as they pass. Out: a notification to those who watch that aggregate, and to nobody
//! else: with thousands of waiters an event costs one look-up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dockhost_domain::subject::AggregateId;
use tokio::sync::Notify;

/// Who watches what.
#[derive(Default)]
pub struct Watchers {
    by_aggregate: Mutex<HashMap<AggregateId, Arc<Notify>>>,
}

/// One watcher of one aggregate.
pub struct Watcher<'a> {
    watchers: &'a Watchers,
    aggregate: AggregateId,
    notify: Arc<Notify>,
}

impl Watchers {
    fn by_aggregate(&self) -> MutexGuard<'_, HashMap<AggregateId, Arc<Notify>>> {
        self.by_aggregate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to watch.
    pub fn watch(&self, aggregate: AggregateId) -> Watcher<'_> {
        let notify = Arc::clone(self.by_aggregate().entry(aggregate).or_default());
        Watcher { watchers: self, aggregate, notify }
    }

    /// Wakes the watchers of an aggregate.
    pub fn notify(&self, aggregate: &AggregateId) {
        if let Some(notify) = self.by_aggregate().get(aggregate) {
            notify.notify_waiters();
        }
    }
}

impl Watcher<'_> {
    /// Looks until `look` finds something; looks again whenever the aggregate has changed. Never misses a change: the
    /// next wake-up is armed before each look.
    pub async fn wait_for<T, E, F>(&self, mut look: impl FnMut() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<Option<T>, E>>,
    {
        loop {
            let changed = self.notify.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = look().await? {
                return Ok(found);
            }
            changed.await;
        }
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        let mut by_aggregate = self.watchers.by_aggregate();
        // The map and this watcher: nobody else holds it.
        if Arc::strong_count(&self.notify) == 2 {
            by_aggregate.remove(&self.aggregate);
        }
    }
}
