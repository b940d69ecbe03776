//! Waits for a state instead of a fixed time.

use std::fmt::Display;
use std::time::Duration;

/// Longer than any expected state takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Calls `probe` until it returns `Ok`. An `Err` describes the current state.
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
    let mut last = "none: the probe did not return".to_owned();
    loop {
        ticks.tick().await;
        match tokio::time::timeout_at(end, probe()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(state)) => last = state.to_string(),
            Err(_) => {}
        }
        assert!(tokio::time::Instant::now() < end, "{what}: not within {deadline:?}; last state: {last}");
    }
}
