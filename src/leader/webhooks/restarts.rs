//! Starts the deliveries of a webhook again after a failure, so that what fails for one webhook delays no other: an event of its user
//! that can't be read, or a message whose making panics.

use std::time::Duration;

use dockhost_domain::ids::WebhookId;
use tokio::time::{Instant, sleep};

use super::checkpoint::Superseded;
use crate::common::error::{Cause, chain};
use crate::common::log_throttle::LogThrottle;
use crate::leader::job_runner::catch_panic;

/// The longest wait after the first failure; it doubles with each failure in a row.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait: after an outage of the database, deliveries go on within this time.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// Deliveries that last for this long have recovered.
const RECOVERED_AFTER: Duration = Duration::from_secs(60);

/// Runs the deliveries of a webhook until they end without a failure. `lines` limits what is logged about all webhooks.
///
/// # Errors
/// [`Superseded`]: this server is to deliver nothing any more.
pub async fn run_again<F>(id: WebhookId, lines: &LogThrottle, run: impl Fn() -> F) -> Result<(), Superseded>
where
    F: Future<Output = Result<(), Cause>>,
{
    let mut wait = FIRST_WAIT;
    loop {
        let began = Instant::now();
        let outcome = catch_panic(run()).await.unwrap_or_else(|panicked| Err(panicked.into()));
        let Err(error) = outcome else { return Ok(()) };
        if let Some(superseded) = error.downcast_ref::<Superseded>() {
            return Err(*superseded);
        }
        let error = chain(&*error);
        match lines.permit() {
            Some(suppressed) => {
                tracing::warn!(webhook = %id, error, suppressed, "the deliveries of a webhook failed; starting them again");
            }
            None => tracing::debug!(webhook = %id, error, "the deliveries of a webhook failed; starting them again"),
        }
        if began.elapsed() >= RECOVERED_AFTER {
            wait = FIRST_WAIT;
        }
        sleep(wait.mul_f64(rand::random_range(0.5..=1.0))).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use uuid::Uuid;

    use super::*;

    /// Runs what ends as `outcome` says of each run; returns the end, the number of runs and how long they took.
    async fn run(outcome: impl Fn(u32) -> Result<(), Cause>) -> (Result<(), Superseded>, u32, Duration) {
        let (runs, began) = (AtomicU32::new(0), Instant::now());
        let lines = LogThrottle::per_minute();
        let next = || {
            let run = runs.fetch_add(1, Ordering::SeqCst);
            let outcome = &outcome;
            async move { outcome(run) }
        };
        let end = run_again(WebhookId::from_uuid(Uuid::nil()), &lines, next).await;
        (end, runs.load(Ordering::SeqCst), began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn deliveries_that_fail_or_panic_are_started_again_with_growing_waits() {
        let (end, runs, took) = run(|run| match run {
            1 => panic!("expected by this test"),
            0..=8 => Err("expected by this test".into()),
            _ => Ok(()),
        })
        .await;
        assert!(end.is_ok());
        assert_eq!(runs, 10);
        // Waits of 1, 2, 4, 8 and five times 15 s, each varied by up to a half.
        assert!((Duration::from_secs(45)..Duration::from_secs(91)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn deliveries_that_another_leader_has_taken_over_are_not_started_again() {
        let (end, runs, _) = run(|_| Err(Superseded.into())).await;
        assert!(end.is_err());
        assert_eq!(runs, 1);
    }
}
