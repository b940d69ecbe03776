//! The store: MongoDB, as the read models need it.
//!
//! In: typed documents and checkpoints. Out: the same, or a [`StoreError`]. A document is stored as its JSON form, so
//! ids and times are text here as they are in the API, and what is stored can be compared with what a fold says,
//! member by member. No filter is ever made of something that a client sent: queries are methods with typed arguments.

mod checkpoint;
mod collection;
mod connect;
mod error;
mod indexes;
mod read;
mod run;
mod snapshots;
mod write;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mongodb::Database;

pub use checkpoint::Checkpoint;
pub use collection::{CollectionName, ReadResult};
pub use error::{Cause, StoreError};
pub use snapshots::Snapshot;

pub(crate) use checkpoint::Advance;
pub(crate) use collection::DROP_GRACE_PERIOD;
pub(crate) use read::{json, malformed};
pub(crate) use write::encode;

/// How long one operation may take, queueing included.
pub(crate) const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one operation on many documents may take: storing a batch, making an index, dropping a collection.
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
    /// Under which name each model's collection was last known; see `collection.rs`.
    names: Mutex<BTreeMap<&'static str, collection::CachedLocation>>,
}

impl MongoStore {
    /// Runs one operation of the driver; see `run.rs` for why all of them pass here.
    pub(crate) async fn run<T, F, Fut>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(Database) -> Fut,
        Fut: Future<Output = mongodb::error::Result<T>> + Send + 'static,
    {
        self.inner.runner.run(OPERATION_TIMEOUT, operation(self.inner.database.clone())).await
    }

    /// The same for an operation on many documents.
    pub(crate) async fn run_bulk<T, F, Fut>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(Database) -> Fut,
        Fut: Future<Output = mongodb::error::Result<T>> + Send + 'static,
    {
        self.inner.runner.run(BULK_OPERATION_TIMEOUT, operation(self.inner.database.clone())).await
    }

    /// Ends what the driver holds open at the database, for a program that is about to end: left to itself the driver does
    /// so while the runtime goes down, and may panic over it. Nothing can be asked afterwards.
    pub async fn close(&self) {
        let close = |database: Database| async move {
            database.client().clone().shutdown().immediate(true).await;
            Ok(())
        };
        if let Err(error) = self.run(close).await {
            tracing::debug!(%error, "the database may not know that its client is gone");
        }
    }
}
