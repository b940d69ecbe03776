//! The store: MongoDB, as the read models need it. It knows documents, checkpoints and collections, but no event.
//!
//! A document is stored in its JSON form, so ids and times are text as in the API. Queries are methods with typed
//! arguments: no filter is built from client input.

mod checkpoint;
mod collection;
mod connect;
mod error;
mod indexes;
#[cfg(feature = "testing")]
pub(crate) mod next_fold;
mod page;
mod quarantine;
mod query;
mod read;
mod run;
mod schema;
mod snapshots;
mod views;
mod webhooks;
mod write;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mongodb::Database;
use tokio::time::{Instant, sleep};

pub use checkpoint::{BuildStatus, Checkpoint};
pub use collection::CollectionName;
pub use error::{Cause, StoreError};
pub use page::Page;
pub use quarantine::{MAX_QUARANTINED, Quarantine, QuarantineFull, Unreadable};
pub use query::{ModelState, ReadResult};
pub use schema::{Document, IdOf, StoredModel};
pub use snapshots::Snapshot;
pub use views::View;
pub use webhooks::{DeliveryAttempt, Failing, Saved, WebhookProgress};

pub(crate) use checkpoint::Advance;
pub(crate) use collection::DROP_GRACE_PERIOD;
pub(crate) use read::{json, malformed};
pub(crate) use write::encode;

/// The timeout of one operation, including the wait for a connection.
pub(crate) const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);
/// The delay before a read is repeated. A member that is being elected or shut down refuses reads at once.
const READ_RETRY_DELAY: Duration = Duration::from_millis(50);
/// The timeout of an operation on many documents: storing a batch, creating an index, dropping a collection.
const BULK_OPERATION_TIMEOUT: Duration = Duration::from_secs(30);

/// The read models' database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MongoStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Database,
    runner: run::Runner,
    /// Where each model's documents were last; see `query.rs`.
    live_collections: Mutex<BTreeMap<&'static str, CollectionName>>,
}

impl MongoStore {
    /// Runs one operation of the driver. All operations run here; see `run.rs`.
    pub(crate) async fn run<T, F, Fut>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(Database) -> Fut,
        Fut: Future<Output = mongodb::error::Result<T>> + Send + 'static,
    {
        self.inner.runner.run(OPERATION_TIMEOUT, operation(self.inner.database.clone())).await
    }

    /// Runs a read, and repeats it while no primary is found, until `OPERATION_TIMEOUT` is over. The driver repeats it only
    /// once and waits for 2 s; an election takes longer.
    pub(crate) async fn run_read<T, F, Fut>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(Database) -> Fut,
        Fut: Future<Output = mongodb::error::Result<T>> + Send + 'static,
    {
        let deadline = Instant::now() + OPERATION_TIMEOUT;
        let mut last = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.inner.runner.run(left, read(self.inner.database.clone())).await {
                Err(StoreError::Unavailable(cause)) if Instant::now() + READ_RETRY_DELAY < deadline => {
                    tracing::debug!(%cause, "repeating a read");
                    last = Some(cause);
                    sleep(READ_RETRY_DELAY).await;
                }
                Err(StoreError::TimedOut { .. }) => {
                    let timed_out = StoreError::TimedOut { after: OPERATION_TIMEOUT };
                    return Err(last.map_or(timed_out, StoreError::Unavailable));
                }
                result => return result,
            }
        }
    }

    /// Runs an operation on many documents.
    pub(crate) async fn run_bulk<T, F, Fut>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(Database) -> Fut,
        Fut: Future<Output = mongodb::error::Result<T>> + Send + 'static,
    {
        self.inner.runner.run(BULK_OPERATION_TIMEOUT, operation(self.inner.database.clone())).await
    }

    /// Closes the connections before the program exits. Left to the runtime's shutdown, the driver may panic over that. No
    /// operation is possible afterwards.
    pub async fn close(&self) {
        let close = |database: Database| async move {
            database.client().clone().shutdown().immediate(true).await;
            Ok(())
        };
        if let Err(error) = self.run(close).await {
            tracing::debug!(%error, "could not close the connections to the database");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::MongoStore;

    /// As during an election that takes longer than the driver waits.
    #[tokio::test]
    async fn run_read_without_a_primary_is_repeated_until_there_is_one() {
        // Nothing connects: the operation is not the driver's.
        let store = MongoStore::connect("mongodb://127.0.0.1:1/?directConnection=true", "test").await.unwrap();
        let attempts = AtomicU32::new(0);
        let read = |_| {
            let attempt = attempts.fetch_add(1, Ordering::SeqCst);
            async move {
                let gone = || std::io::Error::from(std::io::ErrorKind::ConnectionReset).into();
                if attempt < 3 { Err(gone()) } else { Ok(attempt) }
            }
        };
        assert_eq!(store.run_read(read).await.unwrap(), 3);
    }

    /// The rule of this crate: the store knows no event, so it uses nothing of the crate outside its folder.
    #[test]
    fn store_imports_nothing_from_the_rest_of_the_crate() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
        for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
                let foreign = line.contains("crate::") && !line.contains("crate::store");
                assert!(!foreign && !line.contains("RecordedEvent"), "{}: {line}", file.display());
            }
        }
    }
}
