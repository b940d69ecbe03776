//! Notifies tasks that wait for one aggregate to change. An event costs one look-up, however many tasks wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dockhost_domain::subject::AggregateId;
use tokio::sync::Notify;

/// The watchers of all aggregates.
#[derive(Default)]
pub struct Watchers {
    by_aggregate: Mutex<HashMap<AggregateId, Arc<Notify>>>,
}

/// Watches one aggregate.
pub struct Watcher<'a> {
    watchers: &'a Watchers,
    aggregate: AggregateId,
    notify: Arc<Notify>,
}

impl Watchers {
    fn by_aggregate(&self) -> MutexGuard<'_, HashMap<AggregateId, Arc<Notify>>> {
        self.by_aggregate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to watch an aggregate.
    pub fn watch(&self, aggregate: AggregateId) -> Watcher<'_> {
        let notify = Arc::clone(self.by_aggregate().entry(aggregate).or_default());
        Watcher { watchers: self, aggregate, notify }
    }

    /// Notifies the watchers of an aggregate.
    pub fn notify(&self, aggregate: &AggregateId) {
        if let Some(notify) = self.by_aggregate().get(aggregate) {
            notify.notify_waiters();
        }
    }
}

impl Watcher<'_> {
    /// Calls `check` now and after each change of the aggregate, until it returns a value. No change is missed: the
    /// notification is armed before each call.
    pub async fn wait_for<T, E, F>(&self, mut check: impl FnMut() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<Option<T>, E>>,
    {
        loop {
            let changed = self.notify.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = check().await? {
                return Ok(found);
            }
            changed.await;
        }
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        let mut by_aggregate = self.watchers.by_aggregate();
        // Two references, the map's and this one: this is the last watcher.
        if Arc::strong_count(&self.notify) == 2 {
            by_aggregate.remove(&self.aggregate);
        }
    }
}
