//! Reports of a rebuild in the checkpoint: its progress, and that its process is alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::store::{BuildStatus, MongoStore};

/// How often a rebuild reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How far a rebuild has folded the log.
#[derive(Debug, Default)]
pub(crate) struct FoldProgress {
    done: AtomicU64,
    total: AtomicU64,
}

impl FoldProgress {
    pub(crate) fn set(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }
}

/// Reports until it is dropped or another rebuild has taken the reservation.
pub(crate) struct BuildReporter(JoinSet<()>);

impl BuildReporter {
    /// For a rebuild that has reserved its collection with this status.
    pub(crate) fn start(
        store: MongoStore,
        model: &'static str,
        mut status: BuildStatus,
        progress: Arc<FoldProgress>,
    ) -> Self {
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                tokio::time::sleep(REPORT_INTERVAL).await;
                status.reports += 1;
                status.done = progress.done.load(Ordering::Relaxed);
                status.total = progress.total.load(Ordering::Relaxed);
                match store.report_build(model, &status).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => tracing::debug!(model, %error, "could not report the progress of a rebuild"),
                }
            }
        });
        Self(task)
    }

    /// Waits until another rebuild has taken the reservation.
    pub(crate) async fn overtaken(&mut self) {
        self.0.join_next().await;
    }
}
