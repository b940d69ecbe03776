//! Which barrier serves which question. Pure; time is a duration since any fixed moment.

use std::time::Duration;

use crate::common::quota::Quota;

/// 100 barriers at once, and 20 per second in the long run. With 52 bytes each, that is 90 MB of the log per replica and
/// day at most.
const PACE: Quota = Quota { count: 100, window: Duration::from_secs(5) };

/// Why a barrier was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The reason.
    pub why: String,
    /// Whether the next attempt would fail as well.
    pub is_final: bool,
}

/// What a question does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// It is answered.
    Proven(u64),
    /// A barrier that would have answered it failed.
    Failed(Failure),
    /// It publishes a barrier and calls [`Rounds::end`].
    Begin,
    /// It waits until something changes: a barrier is in flight.
    Wait,
    /// The same, or until this time is over: too many barriers were published.
    Pause(Duration),
}

/// The publishes of one replica.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// The acknowledged publish that began last: when, and its sequence.
    proven: Option<(Duration, u64)>,
    /// The failed barrier that began last.
    failed: Option<(Duration, Failure)>,
    in_flight: bool,
    /// When [`PACE`] is full again.
    full_at: Duration,
}

impl Rounds {
    /// The next step of a question that was asked at `asked`, and needs a publish that began at `earliest` or later.
    pub(super) fn step(&mut self, earliest: Duration, asked: Duration, now: Duration) -> Step {
        if let Some((began, sequence)) = self.proven
            && began >= earliest
        {
            return Step::Proven(sequence);
        }
        if let Some((began, failure)) = &self.failed
            && *began >= asked
        {
            return Step::Failed(failure.clone());
        }
        if self.in_flight {
            return Step::Wait;
        }
        let (full_at, decision) = PACE.take(self.full_at, now);
        if let Some(pause) = decision.retry_after {
            return Step::Pause(pause);
        }
        (self.full_at, self.in_flight) = (full_at, true);
        Step::Begin
    }

    /// A publish that began at `began` was acknowledged at this sequence.
    pub(super) fn record(&mut self, began: Duration, sequence: u64) {
        if self.proven.is_none_or(|(newest, _)| newest < began) {
            self.proven = Some((began, sequence));
        }
    }

    /// The barrier in flight, which began at `began`, has ended.
    pub(super) fn end(&mut self, began: Duration, outcome: Result<u64, Failure>) {
        self.in_flight = false;
        match outcome {
            Ok(sequence) => self.record(began, sequence),
            Err(failure) => self.failed = Some((began, failure)),
        }
    }
}
