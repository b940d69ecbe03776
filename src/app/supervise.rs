//! Runs the background tasks of one replica under names.
//!
//! A replica lacks something essential without any one of its tasks, so a task that fails, panics or ends before it was
//! told to ends the process with an error. A service manager starts it again. (The leader's roles have a
//! supervisor of their own, which restarts them: most of their failures are those of a server that is away.)

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A background task failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the task `{name}` {why}; the process must be started again")]
pub struct TaskFailed {
    name: &'static str,
    why: String,
}

/// Owns the tasks; each gets the token that tells it to stop.
pub struct Supervisor {
    tasks: TaskTracker,
    cancel: CancellationToken,
    first_failure: Arc<FirstFailure>,
}

#[derive(Default)]
struct FirstFailure {
    failed: CancellationToken,
    failure: Mutex<Option<TaskFailed>>,
}

impl FirstFailure {
    fn record(&self, name: &'static str, why: String) {
        tracing::error!(task = name, why, "a task failed: stopping this process");
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(TaskFailed { name, why });
        drop(failure);
        self.failed.cancel();
    }
}

impl Supervisor {
    /// Supervises tasks that stop when `cancel` is cancelled.
    pub fn new(cancel: CancellationToken) -> Self {
        Self { tasks: TaskTracker::new(), cancel, first_failure: Arc::default() }
    }

    /// Starts a task that runs until it is cancelled.
    pub fn spawn<F>(&self, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = task(self.cancel.clone());
        self.spawn_fallible(name, |_| task.map(Ok::<_, std::convert::Infallible>));
    }

    /// Starts a task that runs until it is cancelled and can fail, for example because it can't subscribe.
    pub fn spawn_fallible<E, F>(&self, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        E: Display + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let (task, cancel) = (task(self.cancel.clone()), self.cancel.clone());
        let first_failure = Arc::clone(&self.first_failure);
        self.tasks.spawn(async move {
            // The panic's text may contain personal data.
            match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) if cancel.is_cancelled() => tracing::debug!(task = name, "task ended"),
                Ok(Ok(())) => first_failure.record(name, "ended unexpectedly".to_owned()),
                Ok(Err(error)) => first_failure.record(name, format!("failed: {error}")),
                Err(_) => first_failure.record(name, "panicked".to_owned()),
            }
        });
    }

    /// Starts a task that ends by itself and that nothing depends on.
    pub fn spawn_once<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let cancel = self.cancel.clone();
        self.tasks.spawn(async move { cancel.run_until_cancelled(task).await });
    }

    /// Waits until a task fails.
    pub async fn failure(&self) {
        self.first_failure.failed.cancelled().await;
    }

    /// Waits until all tasks have ended, at most for `timeout`.
    ///
    /// # Errors
    /// The first failure of a task.
    pub async fn wait(self, timeout: Duration) -> Result<(), TaskFailed> {
        self.tasks.close();
        if tokio::time::timeout(timeout, self.tasks.wait()).await.is_err() {
            tracing::warn!(seconds = timeout.as_secs(), "some tasks did not end in time");
        }
        let failure = self.first_failure.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    /// Runs a task that is not told to stop before it ends.
    async fn failure_of(start: impl FnOnce(&Supervisor)) -> TaskFailed {
        let supervisor = Supervisor::new(CancellationToken::new());
        supervisor.spawn("healthy", |cancel| async move { cancel.cancelled().await });
        start(&supervisor);
        supervisor.failure().await;
        supervisor.cancel.cancel();
        supervisor.wait(Duration::from_secs(20)).await.unwrap_err()
    }

    #[tokio::test(start_paused = true)]
    async fn supervisor_task_that_ends_fails_or_panics_is_a_failure() {
        let ended = failure_of(|supervisor| supervisor.spawn("follower", |_| ready(()))).await;
        assert_eq!(ended, TaskFailed { name: "follower", why: "ended unexpectedly".to_owned() });
        let failed = failure_of(|supervisor| supervisor.spawn_fallible("fitness", |_| ready(Err("no answer")))).await;
        assert_eq!(failed, TaskFailed { name: "fitness", why: "failed: no answer".to_owned() });
        let panicked = failure_of(|supervisor| {
            supervisor.spawn("election", |_| async { panic!("expected by this test") });
        });
        assert_eq!(panicked.await, TaskFailed { name: "election", why: "panicked".to_owned() });
    }

    #[tokio::test(start_paused = true)]
    async fn supervisor_cancelled_tasks_end_without_a_failure() {
        let supervisor = Supervisor::new(CancellationToken::new());
        supervisor.spawn("healthy", |cancel| async move { cancel.cancelled().await });
        supervisor.spawn_once(ready(()));
        supervisor.spawn_once(std::future::pending());
        tokio::task::yield_now().await;
        supervisor.cancel.cancel();
        assert_eq!(supervisor.wait(Duration::from_secs(20)).await, Ok(()));
    }
}
