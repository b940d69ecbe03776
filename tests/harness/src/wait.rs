//! Waiting for a state instead of for a time.

use std::fmt::Display;
use std::time::Duration;

/// Longer than anything takes on a busy machine, shorter than anyone's patience.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Asks until the answer is `Ok`, and returns what is in it. An `Err` says what the state is instead.
///
/// # Panics
/// After `deadline`, with `what` and the last state seen.
pub async fn wait_until<T, E: Display>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let end = tokio::time::Instant::now() + deadline;
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = "nothing: the probe never answered".to_owned();
    loop {
        ticks.tick().await;
        match tokio::time::timeout_at(end, probe()).await {
            Ok(Ok(seen)) => return seen,
            Ok(Err(state)) => last = state.to_string(),
            Err(_) => {}
        }
        assert!(tokio::time::Instant::now() < end, "{what}: not within {deadline:?}; last seen: {last}");
    }
}
