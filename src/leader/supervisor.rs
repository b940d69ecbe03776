//! Runs the leader's roles: restarts a role that fails or panics, with exponential backoff, until the term is over.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::job_runner::catch_panic;
use crate::common::error::{Cause, chain};
use crate::common::log_throttle::LogThrottle;
use crate::metrics::Metrics;

/// The pause before the first restart; it doubles with each failure in a row.
const MIN_RESTART_DELAY: Duration = Duration::from_secs(1);
/// The longest pause between two runs: after an outage the read models continue within this time.
const MAX_RESTART_DELAY: Duration = Duration::from_secs(5);
/// A role that runs for this long has recovered. Longer than a role takes to fail while a dependency is down.
const RECOVERED_AFTER: Duration = Duration::from_secs(60);

/// Runs a role again and again until `cancel` is cancelled. Logs the first failure, each different one, the same one once
/// a minute, and the recovery.
pub async fn supervise<F>(
    role: &'static str,
    metrics: Arc<Metrics>,
    cancel: CancellationToken,
    run: impl Fn(CancellationToken) -> F + Send,
) where
    F: Future<Output = Result<(), Cause>> + Send,
{
    let mut delay = MIN_RESTART_DELAY;
    let mut last_error: Option<String> = None;
    let mut throttle = LogThrottle::per_minute();
    while !cancel.is_cancelled() {
        let exit = catch_panic(run(cancel.child_token()));
        tokio::pin!(exit);
        let exit = match timeout(RECOVERED_AFTER, &mut exit).await {
            Ok(exit) => exit,
            Err(_) => {
                delay = MIN_RESTART_DELAY;
                if last_error.take().is_some() {
                    tracing::info!(role, "role recovered");
                }
                exit.await
            }
        };
        if let Err(error) = exit.unwrap_or_else(|panicked| Err(panicked.into())) {
            metrics.leader.record_restart(role);
            let error = chain(&*error);
            if last_error.as_ref() != Some(&error) {
                throttle = LogThrottle::per_minute();
            }
            match throttle.permit() {
                Some(suppressed) => tracing::warn!(role, error, suppressed, "role exited; restarting"),
                None => tracing::debug!(role, error, "role exited again; restarting"),
            }
            last_error = Some(error);
        }
        cancel.run_until_cancelled(sleep(delay)).await;
        delay = (delay * 2).min(MAX_RESTART_DELAY);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn supervisor_role_panics_or_fails_restarts_it() {
        let (runs, cancel) = (Arc::new(AtomicU32::new(0)), CancellationToken::new());
        let (counted, end) = (Arc::clone(&runs), cancel.clone());
        let metrics = Arc::<Metrics>::default();
        let role = supervise("test", Arc::clone(&metrics), cancel, move |_| {
            let (run, end) = (counted.fetch_add(1, Ordering::SeqCst), end.clone());
            async move {
                match run {
                    0 => panic!("expected by this test"),
                    1 => Err("expected by this test".into()),
                    _ => {
                        end.cancel();
                        Ok(())
                    }
                }
            }
        });
        role.await;
        assert_eq!(runs.load(Ordering::SeqCst), 3);
        let text = metrics.text().unwrap();
        assert!(text.contains("dockhost_role_restarts_total{role=\"test\"} 2"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn supervisor_repeated_failures_back_off_until_the_role_recovers() {
        let (starts, cancel) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
        let (recorded, begin) = (Arc::clone(&starts), Instant::now());
        let role = supervise("test", Arc::default(), cancel.clone(), move |stop| {
            let mut starts = recorded.lock().unwrap();
            starts.push(begin.elapsed().as_secs());
            let (run, cancel) = (starts.len(), cancel.clone());
            async move {
                match run {
                    8 => sleep(RECOVERED_AFTER * 2).await,
                    10 => {
                        cancel.cancel();
                        let () = stop.run_until_cancelled(pending()).await.unwrap_or_default();
                    }
                    _ => {}
                }
                Err("expected by this test".into())
            }
        });
        role.await;
        // Pauses of 1, 2, 4, 5, 5, 5, 5 s; after a run of two minutes 1 s again.
        assert_eq!(*starts.lock().unwrap(), [0, 1, 3, 7, 12, 17, 22, 27, 148, 150]);
    }
}
