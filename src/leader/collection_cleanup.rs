//! Drops the collections that rebuilds have replaced or left.

use std::time::Duration;

use dockhost_projections::cleanup::Cleanup;
use dockhost_projections::store::MongoStore;
use tokio_util::sync::CancellationToken;

use crate::common::error::Cause;

/// How often it looks for unused collections.
const INTERVAL: Duration = Duration::from_secs(5);

/// Runs until cancelled.
///
/// # Errors
/// The database is unavailable.
pub async fn run(store: MongoStore, cancel: CancellationToken) -> Result<(), Cause> {
    let mut cleanup = Cleanup::new(store);
    while cancel.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
        for collection in cleanup.run_once().await? {
            tracing::info!(%collection, "dropped an unused collection");
        }
    }
    Ok(())
}
