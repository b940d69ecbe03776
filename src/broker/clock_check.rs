//! Compares this machine's clock with the broker's, and uses the broker's time if they differ.
//!
//! Deadlines, tokens and event times of all replicas must have one time. It is the one of the broker, which also fires the
//! timers. The difference is measured by requests whose answers have the broker's time; half the round trip is the uncertainty.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::Client;
use dockhost_domain::timestamp::Timestamp;
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connect::ensure_connected;
use super::streams::EVENTS;
use crate::common::clock;
use crate::common::error::{Cause, chain};
use crate::common::log_throttle::LogThrottle;

/// How often the clocks are compared.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// A larger difference is logged and corrected, in milliseconds.
const TOLERATED_MILLIS: i64 = 2_000;
/// With a larger difference the replica is not ready: the machine needs an operator. In milliseconds.
pub const MAX_DEVIATION_MILLIS: i64 = 30_000;
/// How many measurements the most exact one is chosen from.
const KEPT_MEASUREMENTS: usize = 8;

/// What the broker answers about a stream.
#[derive(Deserialize)]
struct Answer {
    /// The broker's time.
    ts: Timestamp,
}

/// One comparison of the clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Measurement {
    /// How far the machine's clock is ahead, in milliseconds.
    ahead: i64,
    /// By how much that may be wrong.
    uncertainty: i64,
}

impl Measurement {
    /// Of a request that was answered at `received` by the machine's clock, in milliseconds.
    fn new(broker: i64, received: i64, round_trip: Duration) -> Self {
        let uncertainty = i64::try_from(round_trip.as_millis() / 2).unwrap_or(i64::MAX) + 1;
        Self { ahead: received.saturating_sub(uncertainty).saturating_sub(broker), uncertainty }
    }

    const fn contradicts(self, other: Self) -> bool {
        self.ahead.abs_diff(other.ahead) > self.uncertainty.saturating_add(other.uncertainty).unsigned_abs()
    }

    /// By how much the clocks certainly differ.
    const fn certain(self) -> i64 {
        let certain = self.ahead.saturating_abs().saturating_sub(self.uncertainty);
        if certain > 0 { certain } else { 0 }
    }

    /// What is to be added to the machine's clock. A small difference is left, but the time is never certainly ahead of the
    /// broker's.
    fn correction(self) -> i64 {
        if self.certain() > TOLERATED_MILLIS { -self.ahead } else { -(self.ahead - self.uncertainty).max(0) }
    }

    const fn state(self) -> State {
        match self.certain() {
            0..=TOLERATED_MILLIS => State::Right,
            certain if certain <= MAX_DEVIATION_MILLIS => State::Corrected,
            _ => State::NotReady,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Right,
    Corrected,
    NotReady,
}

/// Which changes are logged: each state once a minute at most, because a clock may waver about a limit.
#[derive(Debug)]
struct StateLog {
    logged: State,
    throttles: [LogThrottle; 3],
}

impl StateLog {
    const fn new() -> Self {
        let throttles = [LogThrottle::per_minute(), LogThrottle::per_minute(), LogThrottle::per_minute()];
        Self { logged: State::Right, throttles }
    }

    /// Whether to log this state now. One that lasts is logged later.
    fn permits(&mut self, state: State) -> bool {
        let permits = state != self.logged && self.throttles[state as usize].permit().is_some();
        if permits {
            self.logged = state;
        }
        permits
    }
}

/// The last measurements.
#[derive(Debug, Default)]
struct Estimate(VecDeque<Measurement>);

impl Estimate {
    /// Adds a measurement; returns the most exact one.
    fn add(&mut self, measured: Measurement) -> Measurement {
        // One of the clocks was set.
        if self.0.iter().any(|earlier| earlier.contradicts(measured)) {
            self.0.clear();
        }
        self.0.push_back(measured);
        if self.0.len() > KEPT_MEASUREMENTS {
            self.0.pop_front();
        }
        self.0.iter().copied().min_by_key(|one| one.uncertainty).unwrap_or(measured)
    }
}

/// Compares the clocks.
pub struct ClockCheck {
    client: Client,
    estimate: Estimate,
    log: StateLog,
}

impl ClockCheck {
    /// Has not compared anything yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, estimate: Estimate::default(), log: StateLog::new() }
    }

    /// Compares once, and corrects the clock. While the broker does not answer, the last correction stays.
    pub async fn check(&mut self) {
        match self.measure().await {
            Ok(measured) => self.apply(measured),
            Err(error) => tracing::debug!(error = chain(&*error), "could not compare the clock with the broker's"),
        }
    }

    /// Compares until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        while cancel.run_until_cancelled(sleep(CHECK_INTERVAL)).await.is_some() {
            if cancel.run_until_cancelled(self.check()).await.is_none() {
                return;
            }
        }
    }

    async fn measure(&self) -> Result<Measurement, Cause> {
        ensure_connected(&self.client)?;
        let began = Instant::now();
        let request = self.client.request(format!("$JS.API.STREAM.INFO.{EVENTS}"), "".into());
        let answer = timeout(REQUEST_TIMEOUT, request).await??;
        let (received, round_trip) = (clock::machine_millis(), began.elapsed());
        let broker = serde_json::from_slice::<Answer>(&answer.payload)?.ts.millis();
        Ok(Measurement::new(broker, received, round_trip))
    }

    fn apply(&mut self, measured: Measurement) {
        let best = self.estimate.add(measured);
        clock::correct(best.ahead, best.correction());
        let state = best.state();
        if !self.log.permits(state) {
            return;
        }
        let ahead_ms = best.ahead;
        match state {
            State::Right => tracing::info!(ahead_ms, "this machine's clock agrees with the broker's again"),
            State::Corrected => {
                tracing::warn!(ahead_ms, "this machine's clock differs from the broker's; using the broker's time");
            }
            State::NotReady => tracing::error!(
                ahead_ms,
                "this machine's clock differs by more than 30 s from the broker's: this replica is not ready until it is set"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ahead(ahead: i64, uncertainty: i64) -> Measurement {
        Measurement { ahead, uncertainty }
    }

    #[test]
    fn measurement_takes_half_the_round_trip_as_uncertainty() {
        let measured = Measurement::new(1_000_000, 1_300_050, Duration::from_millis(100));
        assert_eq!((measured.ahead, measured.uncertainty), (299_999, 51));
    }

    #[test]
    fn correction_is_the_whole_difference_beyond_the_tolerance_and_never_leaves_the_time_ahead() {
        for (measured, correction, state) in [
            (ahead(0, 5), 0, State::Right),
            (ahead(100, 5), -95, State::Right),
            (ahead(-1500, 5), 0, State::Right),
            (ahead(2100, 5), -2100, State::Corrected),
            // It may as well be right.
            (ahead(2500, 600), -1900, State::Right),
            (ahead(-29_000, 5), 29_000, State::Corrected),
            (ahead(-31_000, 5), 31_000, State::NotReady),
            (ahead(90_000_000, 5), -90_000_000, State::NotReady),
        ] {
            assert_eq!((measured.correction(), measured.state()), (correction, state), "{measured:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn state_log_of_a_clock_that_wavers_permits_each_state_once_a_minute() {
        let mut log = StateLog::new();
        let mut lines = Vec::new();
        for second in 0..70 {
            let state = if second % 2 == 0 { State::Corrected } else { State::Right };
            if log.permits(state) {
                lines.push((second, state));
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(lines, [(0, State::Corrected), (1, State::Right), (60, State::Corrected), (61, State::Right)]);
        assert!(log.permits(State::NotReady), "a worse state is logged at once");
        assert!(!log.permits(State::NotReady));
    }

    #[test]
    fn estimate_is_the_most_exact_measurement_since_a_clock_was_set() {
        let mut estimate = Estimate::default();
        assert_eq!(estimate.add(ahead(40, 50)), ahead(40, 50));
        assert_eq!(estimate.add(ahead(3, 4)), ahead(3, 4));
        assert_eq!(estimate.add(ahead(90, 100)), ahead(3, 4));
        assert_eq!(estimate.add(ahead(5000, 100)), ahead(5000, 100), "the clock was set");
        for _ in 0..KEPT_MEASUREMENTS {
            estimate.add(ahead(5010, 150));
        }
        assert_eq!(estimate.add(ahead(5020, 140)), ahead(5020, 140), "old ones are forgotten: clocks drift");
    }
}
