//! Runs the futures of the driver, each as a task of its own.
//!
//! A driver future that is dropped before its end (by a timeout, a `select!`, a client that disconnected) can leave the
//! driver's pool in a state in which the next operations wait for many seconds. A caller therefore drops only the handle
//! of the task. A semaphore as wide as the pool limits the tasks; the task owns the permit, so an operation counts until
//! it ends, even if its caller is gone.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::error::StoreError;

/// Runs driver futures to their end, at most `width` concurrently.
#[derive(Debug, Clone)]
pub(crate) struct Runner {
    permits: Arc<Semaphore>,
}

impl Runner {
    pub(crate) fn new(width: u32) -> Self {
        Self { permits: Arc::new(Semaphore::new(usize::try_from(width).unwrap_or(Semaphore::MAX_PERMITS))) }
    }

    /// Waits for at most `limit`, including the wait for a permit. After a timeout the operation still runs to its end.
    pub(crate) async fn run<T, F>(&self, limit: Duration, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = mongodb::error::Result<T>> + Send + 'static,
    {
        let deadline = Instant::now() + limit;
        let late = |_| StoreError::TimedOut { after: limit };
        let permit = timeout_at(deadline, Arc::clone(&self.permits).acquire_owned())
            .await
            .map_err(late)?
            .map_err(StoreError::rejected)?;
        let task = tokio::spawn(async move {
            let _permit = permit;
            operation.await
        });
        let joined = timeout_at(deadline, task).await.map_err(late)?;
        joined.map_err(StoreError::rejected)?.map_err(StoreError::from_driver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test]
    async fn runner_timed_out_operation_runs_to_its_end_and_keeps_its_permit() {
        let (short, long) = (Duration::from_millis(20), Duration::from_secs(60));
        let runner = Runner::new(1);
        let (finish, finished) = tokio::sync::oneshot::channel::<()>();
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        let slow = async move {
            finished.await.ok();
            flag.store(true, Ordering::SeqCst);
            Ok(())
        };
        let error = runner.run(short, slow).await.unwrap_err();
        assert!(matches!(error, StoreError::TimedOut { .. }), "{error:?}");

        let error = runner.run(short, async { Ok(()) }).await.unwrap_err();
        assert!(matches!(error, StoreError::TimedOut { .. }), "the permit was free while its operation ran: {error:?}");

        finish.send(()).unwrap();
        runner.run(long, async { Ok(()) }).await.unwrap();
        assert!(ended.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn runner_aborted_caller_does_not_abort_the_operation() {
        let runner = Runner::new(1);
        let (finish, finished) = tokio::sync::oneshot::channel::<()>();
        let (began, begun) = tokio::sync::oneshot::channel::<()>();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let operation = async move {
            began.send(()).unwrap();
            finished.await.ok();
            end.send(()).unwrap();
            Ok(())
        };
        let caller = tokio::spawn({
            let runner = runner.clone();
            async move { runner.run(Duration::from_secs(60), operation).await }
        });
        begun.await.unwrap();
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        finish.send(()).unwrap();
        ended.await.unwrap();
    }
}
