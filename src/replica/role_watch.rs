//! Watches whether the leader carries out: whether the consumers of its roles get on.
//!
//! A leader can hold the lease and still not work. Then messages wait at a role's consumer, and the sequence up to which it
//! has finished all of them does not change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::Info;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::broker::streams::incarnation::StreamIncarnation;
use crate::broker::streams::{ASSIGNMENTS, EVENTS, REPORTS, TIMERS};
use crate::common::error::Cause;

/// How often the broker is asked.
const CHECK_INTERVAL: Duration = Duration::from_secs(3);
/// How long one round of questions may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(4);
/// A role that has finished nothing for so long, while messages wait, does not get on: longer than a take-over and the
/// retries of one message take.
const MAX_STANDSTILL: Duration = Duration::from_secs(10);

/// The roles without which nothing is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Tells backends what to run.
    Dispatcher,
    /// Reads what backends report.
    Intake,
    /// Schedules deadlines.
    Timers,
    /// Ends states at their deadlines.
    Deadlines,
}

impl Role {
    /// Its name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dispatcher => "dispatcher",
            Self::Intake => "intake",
            Self::Timers => "timers",
            Self::Deadlines => "deadlines",
        }
    }
}

/// What a consumer has finished, and whether more waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sight {
    finished: u64,
    has_work: bool,
}

/// What this replica knows about the leader's roles.
#[derive(Debug, Default)]
pub struct RoleWatch {
    progress: Mutex<Progress>,
}

/// Since when which role stands still.
#[derive(Debug, Default)]
struct Progress(BTreeMap<Role, (Sight, Instant)>);

impl Progress {
    fn observe(&mut self, role: Role, sight: Sight, now: Instant) {
        let entry = self.0.entry(role).or_insert((sight, now));
        if !sight.has_work || sight.finished != entry.0.finished || !entry.0.has_work {
            *entry = (sight, now);
        }
    }

    fn stalled(&self, now: Instant) -> Vec<(Role, Duration)> {
        let still = self.0.iter().filter(|(_, (sight, _))| sight.has_work);
        let still = still.map(|(role, (_, since))| (*role, now.saturating_duration_since(*since)));
        still.filter(|(_, still)| *still >= MAX_STANDSTILL).collect()
    }
}

impl RoleWatch {
    /// The roles that don't get on, and for how long.
    #[must_use]
    pub fn stalled(&self) -> Vec<(Role, Duration)> {
        self.progress().stalled(Instant::now())
    }

    /// Watches until cancelled.
    pub async fn run(self: Arc<Self>, js: Context, cancel: CancellationToken) {
        let (mut logged, mut answered) = (Vec::new(), Instant::now());
        while cancel.run_until_cancelled(sleep(CHECK_INTERVAL)).await.is_some() {
            let Some(asked) = cancel.run_until_cancelled(timeout(CHECK_TIMEOUT, look(&js))).await else { return };
            if let Ok(Ok(sights)) = asked {
                let (mut progress, now) = (self.progress(), Instant::now());
                // A broker that did not answer for long shows by itself, and its consumers are new to us afterwards.
                if now.saturating_duration_since(answered) > MAX_STANDSTILL {
                    progress.0.clear();
                }
                answered = now;
                sights.into_iter().for_each(|(role, sight)| progress.observe(role, sight, now));
            }
            self.log_changes(&mut logged);
        }
    }

    fn log_changes(&self, logged: &mut Vec<Role>) {
        let stalled: Vec<Role> = self.stalled().into_iter().map(|(role, _)| role).collect();
        for role in stalled.iter().filter(|role| !logged.contains(role)) {
            tracing::error!(
                role = role.name(),
                seconds = MAX_STANDSTILL.as_secs(),
                "a role of the leader does not get on, although work waits for it"
            );
        }
        for role in logged.iter().filter(|role| !stalled.contains(role)) {
            tracing::info!(role = role.name(), "the role of the leader gets on again");
        }
        *logged = stalled;
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The roles' consumers. A consumer that does not exist yet is left out.
async fn look(js: &Context) -> Result<Vec<(Role, Sight)>, Cause> {
    let assignments = StreamIncarnation::read(js, ASSIGNMENTS).await?;
    let timers = StreamIncarnation::read(js, TIMERS).await?;
    let (events, reports, fired) =
        (js.get_stream(EVENTS).await?, js.get_stream(REPORTS).await?, js.get_stream(TIMERS).await?);
    let found = [
        (Role::Dispatcher, events.consumer_info(format!("dispatcher-{}", assignments.created_at())).await),
        (Role::Timers, events.consumer_info(format!("timers-{}", timers.created_at())).await),
        (Role::Intake, reports.consumer_info("intake").await),
        (Role::Deadlines, fired.consumer_info("deadlines").await),
    ];
    Ok(found.into_iter().filter_map(|(role, info)| Some((role, sight(&info.ok()?)))).collect())
}

const fn sight(info: &Info) -> Sight {
    Sight { finished: info.ack_floor.stream_sequence, has_work: info.num_pending > 0 || info.num_ack_pending > 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_a_role_with_work_that_finishes_nothing_is_stalled() {
        let (mut progress, start) = (Progress::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut observe = |second, finished, has_work| {
            progress.observe(Role::Intake, Sight { finished, has_work }, at(second));
            progress.stalled(at(second)).len()
        };
        assert_eq!((0..=60).step_by(5).map(|second| observe(second, 7, false)).max(), Some(0), "idle");
        assert_eq!((65..75).step_by(3).map(|second| observe(second, 7, true)).max(), Some(0), "not long enough");
        assert_eq!(observe(75, 7, true), 1);
        assert_eq!(observe(78, 8, true), 0, "one message was finished");
        assert_eq!((observe(87, 8, true), observe(88, 8, true)), (0, 1));
        assert_eq!(observe(90, 9, false), 0);
    }
}
