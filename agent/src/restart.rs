//! Whether and when a container is started again that ended although it should run.
//!
//! A container that keeps ending is started after longer and longer delays, and not without end. The count is per
//! generation, so a resume sets it to zero. It is lost when the agent restarts; the server's log has each end.

use std::time::Duration;

use dockhost_domain::wire::{AgentError, ContainerEnd, RestartPolicy};
use tokio::time::Instant;

use crate::step::agent_error;

/// Limits of restarts.
#[derive(Debug, Clone)]
pub struct RestartLimits {
    /// Delay before the first restart; twice as long before each further one. Long enough for the report of the end to
    /// be stored before the next report replaces it.
    pub first_delay: Duration,
    /// Restarts in a row; the next end is final.
    pub max_in_a_row: u32,
    /// A container that ran for so long since it last ended begins a new row.
    pub calm_after: Duration,
}

impl Default for RestartLimits {
    /// The longest delay, 16 s, fits into the 30 s that the server gives a container to run again.
    fn default() -> Self {
        Self { first_delay: Duration::from_secs(1), max_in_a_row: 5, calm_after: Duration::from_secs(300) }
    }
}

/// What follows from an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The container is started, but not before this time.
    StartAt(Instant),
    /// The container is not started in this generation; the error says why.
    Keep(AgentError),
}

/// The ends of one instance's container in one generation.
#[derive(Debug, Default)]
pub struct Restarts {
    in_a_row: u32,
    last: Option<Instant>,
    verdict: Option<Verdict>,
}

impl Restarts {
    /// Records an end and decides what follows.
    pub fn record(
        &mut self,
        cause: ContainerEnd,
        policy: RestartPolicy,
        limits: &RestartLimits,
        now: Instant,
    ) -> Verdict {
        if self.last.is_some_and(|last| now.duration_since(last) >= limits.calm_after) {
            self.in_a_row = 0;
        }
        self.in_a_row += 1;
        self.last = Some(now);
        let verdict = if policy == RestartPolicy::Never {
            let message = format!("its container ended and is not started again, as requested: {}", cause.explain());
            Verdict::Keep(agent_error(cause.code(), &message))
        } else if self.in_a_row > limits.max_in_a_row {
            let message = format!(
                "its container ended {} times within minutes and is not started again: {}",
                self.in_a_row,
                cause.explain()
            );
            Verdict::Keep(agent_error(cause.code(), &message))
        } else {
            let doublings = (self.in_a_row - 1).min(16);
            Verdict::StartAt(now + limits.first_delay * 2_u32.pow(doublings))
        };
        self.verdict = Some(verdict.clone());
        verdict
    }

    /// Begins no row: the container may have ended long ago, or was stopped. The start only waits until that is reported.
    pub fn defer(&mut self, limits: &RestartLimits, now: Instant) -> Instant {
        let at = now + limits.first_delay;
        self.verdict = Some(Verdict::StartAt(at));
        at
    }

    /// The verdict about the last end, until the container runs again.
    #[must_use]
    pub const fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// The container runs, or is about to be started.
    pub fn clear_verdict(&mut self) {
        self.verdict = None;
    }

    /// Whether it has ended before in this generation.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.in_a_row > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OOM: ContainerEnd = ContainerEnd::OutOfMemory;

    #[test]
    fn restarts_are_delayed_more_and_more_and_then_end() {
        let (mut restarts, limits, now) = (Restarts::default(), RestartLimits::default(), Instant::now());
        for delay in [1, 2, 4, 8, 16] {
            let verdict = restarts.record(OOM, RestartPolicy::OnFailure, &limits, now);
            assert_eq!(verdict, Verdict::StartAt(now + Duration::from_secs(delay)));
        }
        let Verdict::Keep(error) = restarts.record(OOM, RestartPolicy::OnFailure, &limits, now) else { panic!() };
        assert_eq!(error.code.as_str(), "out_of_memory");
        assert!(error.message.as_str().contains("6 times") && error.message.as_str().contains("out of memory"));
    }

    #[test]
    fn restarts_after_a_calm_time_begin_anew() {
        let (mut restarts, limits, mut now) = (Restarts::default(), RestartLimits::default(), Instant::now());
        for _ in 0..20 {
            let verdict = restarts.record(OOM, RestartPolicy::OnFailure, &limits, now);
            assert_eq!(verdict, Verdict::StartAt(now + limits.first_delay));
            now += limits.calm_after;
        }
    }

    #[test]
    fn restarts_with_the_policy_never_keep_the_first_end() {
        let exited = ContainerEnd::Exited { exit_code: 3 };
        let mut restarts = Restarts::default();
        let verdict = restarts.record(exited, RestartPolicy::Never, &RestartLimits::default(), Instant::now());
        let Verdict::Keep(error) = &verdict else { panic!("{verdict:?}") };
        assert!(error.code.as_str() == "exited" && error.message.as_str().contains("code 3"), "{error:?}");
        assert_eq!(restarts.verdict(), Some(&verdict));
    }
}
