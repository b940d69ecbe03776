//! Drops collections that no checkpoint uses: replaced ones, and those of builds that died. The leader calls it
//! regularly, so nothing is left even if the process that switched or built crashes.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::registry::ModelInfo;
use crate::self_build::BuildMonitor;
use crate::store::{Checkpoint, CollectionName, DROP_GRACE_PERIOD, MongoStore, StoreError};

/// A reservation without a report for this long is cancelled. Much longer than the time after which another replica
/// takes a build over: this is for a build that no running program continues.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// Finds unused collections and drops them after a grace period.
#[derive(Debug)]
pub struct Cleanup {
    store: MongoStore,
    /// Unused collections, and since when they are known to be.
    unused: BTreeMap<CollectionName, Instant>,
    monitor: BuildMonitor,
}

impl Cleanup {
    /// Knows no unused collection yet.
    #[must_use]
    pub fn new(store: MongoStore) -> Self {
        Self { store, unused: BTreeMap::new(), monitor: BuildMonitor::default() }
    }

    /// Looks once, and drops what has been unused for longer than any query takes; returns what it dropped.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn run_once(&mut self) -> Result<Vec<CollectionName>, StoreError> {
        // The names first: a collection that a build creates later must not be compared with an older checkpoint.
        let names = self.store.collection_names().await?;
        let mut unused = BTreeMap::new();
        for (model, checkpoint) in crate::read_checkpoints(&self.store).await? {
            let Some(checkpoint) = checkpoint else { continue };
            let has_reports = checkpoint.active_build().is_some();
            let silence = self.monitor.silence(&checkpoint);
            if has_reports && silence.is_some_and(|silence| silence > ABANDONED_AFTER) {
                self.store.cancel_build(&checkpoint).await?;
                continue;
            }
            for name in unused_of(&model, &checkpoint, &names) {
                let since = self.unused.get(&name).copied().unwrap_or_else(Instant::now);
                unused.insert(name, since);
            }
        }
        self.unused = unused;
        let mut dropped = Vec::new();
        for (name, since) in &self.unused {
            if since.elapsed() > DROP_GRACE_PERIOD {
                self.store.drop_collection(name).await?;
                dropped.push(name.clone());
            }
        }
        Ok(dropped)
    }
}

/// The collections of a model that are neither live nor reserved.
fn unused_of(model: &ModelInfo, checkpoint: &Checkpoint, names: &[String]) -> Vec<CollectionName> {
    let numbers = names.iter().filter_map(|name| CollectionName::number(model.name, name));
    let collections = numbers.map(|number| CollectionName::numbered(model.name, number));
    collections.filter(|name| *name != checkpoint.collection && Some(name) != checkpoint.building.as_ref()).collect()
}
