//! Whether the servers that this replica needs answer, asked at most once a second: balancers and monitors ask `/health`
//! often, and each answer costs the broker and the database a request.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::app::App;
use crate::event_log::Filter;

/// How long an answer is used.
const CACHE_TTL: Duration = Duration::from_secs(1);
/// How long each server may take to answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// What the servers answered.
#[derive(Debug, Clone, Copy)]
pub struct Dependencies {
    /// Whether the database answers.
    pub is_database_up: bool,
    /// The last sequence in the log; `None` if the broker does not answer.
    pub log_end: Option<u64>,
}

/// Asks the servers, for one caller at a time; the others get the same answer.
#[derive(Debug, Default)]
pub struct DependencyCheck(Mutex<Option<(Instant, Dependencies)>>);

impl DependencyCheck {
    /// The last answer, or a new one if that is too old.
    pub async fn get(&self, app: &App) -> Dependencies {
        let mut last = self.0.lock().await;
        if let Some((at, dependencies)) = *last
            && at.elapsed() < CACHE_TTL
        {
            return dependencies;
        }
        let (is_database_up, log_end) = tokio::join!(is_database_up(app), end_of_log(app));
        // This replica may have missed announcements of the leader, and only the checkpoints have the quarantine.
        if is_database_up {
            // A timeout drops the wait only; the database operations run to their end.
            let _ = timeout(CHECK_TIMEOUT, app.progress.refresh(&app.follower)).await;
        }
        let dependencies = Dependencies { is_database_up, log_end };
        *last = Some((Instant::now(), dependencies));
        dependencies
    }
}

async fn is_database_up(app: &App) -> bool {
    matches!(timeout(CHECK_TIMEOUT, app.store.ping()).await, Ok(Ok(())))
}

async fn end_of_log(app: &App) -> Option<u64> {
    if !(app.is_broker_connected)() {
        return None;
    }
    timeout(CHECK_TIMEOUT, app.executor.log().end(Filter::All)).await.ok()?.ok()
}
