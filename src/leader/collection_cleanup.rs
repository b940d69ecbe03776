//! Keeps the database in order: the views show the live collections, and collections that rebuilds have replaced or left are
//! dropped.

use std::time::Duration;

use dockhost_projections::cleanup::Cleanup;
use dockhost_projections::store::MongoStore;
use dockhost_projections::views::ensure_views;
use tokio_util::sync::CancellationToken;

use crate::common::error::Cause;

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(5);

/// Runs until cancelled.
///
/// # Errors
/// The database is unavailable.
pub async fn run(store: MongoStore, cancel: CancellationToken) -> Result<(), Cause> {
    let mut cleanup = Cleanup::new(store.clone());
    loop {
        // First, because a view of a collection that is dropped would be empty.
        for view in ensure_views(&store).await? {
            tracing::info!(view, "the view shows the live collection now");
        }
        for collection in cleanup.run_once().await? {
            tracing::info!(%collection, "dropped an unused collection");
        }
        if cancel.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
            return Ok(());
        }
    }
}
