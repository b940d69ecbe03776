//! Records the metrics for the charts.

use std::sync::Arc;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::http::app::App;
use crate::http::metrics;
use crate::metrics::charts::STEP;

/// Records until cancelled. While this process could not run, there are no figures.
pub async fn run(app: Arc<App>, cancel: CancellationToken) {
    let mut ticks = tokio::time::interval(STEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        // A database that does not answer must not delay the end.
        cancel.run_until_cancelled(metrics::record(&app, app.started.elapsed())).await;
    }
}
