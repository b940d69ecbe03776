//! Runs the background tasks of one replica under names, and waits for their end at shutdown.

use std::fmt::Display;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Owns the tasks; each gets the token that tells it to stop.
pub struct Supervisor {
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Supervisor {
    /// Supervises tasks that stop when `cancel` is cancelled.
    pub fn new(cancel: CancellationToken) -> Self {
        Self { tasks: TaskTracker::new(), cancel }
    }

    /// Starts a task.
    pub fn spawn<F>(&self, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = task(self.cancel.clone());
        self.tasks.spawn(async move {
            task.await;
            tracing::debug!(task = name, "task ended");
        });
    }

    /// Starts a task that subscribes to messages of the broker. The client keeps the subscription over reconnects, so
    /// only subscribing can fail.
    pub fn spawn_listener<E, F>(&self, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        E: Display + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let task = task(self.cancel.clone());
        self.spawn(name, |_| async move {
            if let Err(error) = task.await {
                tracing::error!(task = name, %error, "subscribing failed");
            }
        });
    }

    /// Waits until all tasks have ended, at most for `timeout`.
    pub async fn wait(self, timeout: Duration) {
        self.tasks.close();
        if tokio::time::timeout(timeout, self.tasks.wait()).await.is_err() {
            tracing::warn!(seconds = timeout.as_secs(), "some tasks did not end in time");
        }
    }
}
