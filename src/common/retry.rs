//! Asking again while something that is needed is not ready: at start-up the parts come in any order, and a cluster that
//! has just lost nodes answers nobody for some seconds.
//!
//! In: a question, and how to tell of an error that may pass. Out: the first answer that is none of those, or the last error.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// So long, all in all.
pub const STARTUP_DEADLINE: Duration = Duration::from_secs(30);
/// Between two questions.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// Asks until the answer is no error that may pass, or the deadline is there. `transient_cause` tells of an error that may.
///
/// # Errors
/// The last one.
pub async fn until_deadline<T, E, F>(
    what: &str,
    deadline: Instant,
    transient_cause: impl Fn(&E) -> Option<String>,
    mut ask: impl FnMut() -> F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut logged = false;
    loop {
        let outcome = ask().await;
        match outcome.as_ref().err().and_then(&transient_cause) {
            Some(error) if Instant::now() + RETRY_INTERVAL < deadline => {
                if !std::mem::replace(&mut logged, true) {
                    tracing::info!(error, "waiting for {what}");
                }
                sleep(RETRY_INTERVAL).await;
            }
            _ => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks something that fails `failures` times; returns the outcome and how often it was asked.
    async fn asked(failures: u32, may_pass: bool) -> (Result<u32, &'static str>, u32) {
        let mut asked = 0;
        let outcome = until_deadline(
            "a test",
            Instant::now() + STARTUP_DEADLINE,
            |_| may_pass.then(String::new),
            || {
                asked += 1;
                std::future::ready(if asked <= failures { Err("not yet") } else { Ok(asked) })
            },
        );
        (outcome.await, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn it_asks_until_there_is_an_answer_but_not_for_ever_and_not_what_is_final() {
        assert_eq!(asked(0, true).await, (Ok(1), 1));
        assert_eq!(asked(5, true).await, (Ok(6), 6));
        assert_eq!(asked(5, false).await, (Err("not yet"), 1));
        let (outcome, times) = asked(u32::MAX, true).await;
        assert_eq!((outcome, times), (Err("not yet"), 120));
    }
}
