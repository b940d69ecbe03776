//! Limits how often a repeated line is logged.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Permits one line per interval, and counts what was left out.
#[derive(Debug)]
pub struct LogThrottle {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl LogThrottle {
    /// One line per minute.
    pub const fn per_minute() -> Self {
        Self::every(Duration::from_secs(60))
    }

    /// One line per interval.
    pub const fn every(interval: Duration) -> Self {
        Self { interval, state: Mutex::new(State { last: None, suppressed: 0 }) }
    }

    /// Whether to log now: the number of lines that were left out since the last one. `None` means to leave this one out.
    pub fn permit(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| last.elapsed() < self.interval) {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(Instant::now());
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn log_throttle_permits_one_line_per_interval_and_counts_the_others() {
        let throttle = LogThrottle::per_minute();
        assert_eq!([throttle.permit(), throttle.permit(), throttle.permit()], [Some(0), None, None]);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!([throttle.permit(), throttle.permit()], [Some(2), None]);
    }
}
