//! Retries with backoff until a deadline, for what may not be ready yet: at start-up the servers come up in any order,
//! and a cluster that has just lost nodes does not answer for some seconds.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use tokio::time::Instant;

/// How long start-up waits in all for the servers that it needs.
pub const STARTUP_DEADLINE: Duration = Duration::from_secs(30);
const MIN_DELAY: Duration = Duration::from_millis(50);
const MAX_DELAY: Duration = Duration::from_secs(1);

/// Repeats `attempt` until it succeeds, fails permanently, or the deadline is reached. `transient_cause` returns the
/// text of an error that may pass; the first one is logged as the reason for waiting for `what`.
///
/// # Errors
/// The error of the last attempt.
pub async fn until_deadline<T, E, F>(
    what: &str,
    deadline: Instant,
    transient_cause: impl Fn(&E) -> Option<String>,
    attempt: impl FnMut() -> F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut logged = false;
    let backoff = ExponentialBuilder::default()
        .with_min_delay(MIN_DELAY)
        .with_max_delay(MAX_DELAY)
        .with_jitter()
        .without_max_times();
    let is_worth_a_retry = |error: &E| {
        let cause = transient_cause(error).filter(|_| Instant::now() < deadline);
        if let Some(error) = &cause
            && !std::mem::replace(&mut logged, true)
        {
            tracing::info!(error, "waiting for {what}");
        }
        cause.is_some()
    };
    attempt.retry(backoff).when(is_worth_a_retry).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs an attempt that fails `failures` times; returns the outcome and the number of attempts.
    async fn run(failures: u32, transient: bool) -> (Result<u32, &'static str>, u32) {
        let mut attempts = 0;
        let outcome = until_deadline(
            "a test",
            Instant::now() + STARTUP_DEADLINE,
            |_| transient.then(String::new),
            || {
                attempts += 1;
                std::future::ready(if attempts <= failures { Err("not yet") } else { Ok(attempts) })
            },
        );
        (outcome.await, attempts)
    }

    #[tokio::test(start_paused = true)]
    async fn until_deadline_retries_transient_errors_only() {
        assert_eq!(run(0, true).await, (Ok(1), 1));
        assert_eq!(run(5, true).await, (Ok(6), 6));
        assert_eq!(run(5, false).await, (Err("not yet"), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn until_deadline_returns_the_last_error_at_the_deadline() {
        let started = Instant::now();
        let (outcome, attempts) = run(u32::MAX, true).await;
        assert_eq!(outcome, Err("not yet"));
        assert!(attempts > 10, "{attempts} attempts");
        let elapsed = started.elapsed();
        assert!((STARTUP_DEADLINE..STARTUP_DEADLINE + 2 * MAX_DELAY).contains(&elapsed), "{elapsed:?}");
    }
}
