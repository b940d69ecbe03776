//! Counts sessions and instances in the read models, for the metrics and the charts.

use std::sync::Arc;
use std::time::Duration;

use dockhost_projections::store::MongoStore;
use tokio_util::sync::CancellationToken;

use crate::common::clock;
use crate::metrics::{Metrics, signed};

/// How often they are counted.
const INTERVAL: Duration = Duration::from_secs(30);

/// Counts until cancelled. While the database is away, the last counts stay.
pub async fn run(store: MongoStore, metrics: Arc<Metrics>, cancel: CancellationToken) {
    // A database that does not answer must not delay the end.
    while let Some(totals) = cancel.run_until_cancelled(store.totals(clock::now())).await {
        if let Ok(totals) = totals {
            metrics.state.sessions.set(signed(totals.sessions));
            metrics.state.set_instances(totals.instances);
        }
        if cancel.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
            return;
        }
    }
}
