//! Liveness: marks a backend connected when it sends heartbeats and lost when it stops.
//!
//! Silence is measured on a monotonic clock and counts only while this replica could receive heartbeats.
//! When many backends with instances stop at once, the cause is more likely this side of the network: the role logs an
//! error and marks none of them lost. Whatever it decides, a silent backend gets no new instances
//! ([`crate::replica::fleet`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dockhost_domain::backend::{Connected, ConnectionState, MarkConnected, MarkLost};
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::BackendId;
use dockhost_domain::subject::AggregateId;
use tokio_util::sync::CancellationToken;

use crate::common::error::Cause;
use crate::execute::{ExecuteError, Executor};
use crate::replica::follower::Follower;
use crate::replica::heartbeat_registry::{HeartbeatRegistry, LastHeartbeat};
use crate::replica::mass_failure::is_mass_failure;
use crate::replica::presence::HEARTBEAT_INTERVAL;

/// How often the role checks for silent backends.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time between two events about changed facts of a connected backend. The log keeps each of them, and a
/// backend may send others with each heartbeat.
const FACTS_INTERVAL: Duration = Duration::from_secs(10);
/// The shortest time between two errors about many silent backends.
const ALARM_INTERVAL: Duration = Duration::from_secs(60);

/// A connected backend.
#[derive(Debug, Clone, Copy)]
struct ConnectedBackend {
    id: BackendId,
    /// Whether instances are placed on it.
    holds_instances: bool,
    /// For how long it has been silent.
    silence: Duration,
}

/// The backends to mark lost, and whether many with instances are silent at once, so that those are not among them.
///
/// Backends that are cut off at one moment have sent their last heartbeats up to an interval apart. So those that are about
/// to be lost count too; otherwise the first of them would be lost before it is known that they are many.
fn classify(backends: &[ConnectedBackend], lost_after: Duration) -> (Vec<ConnectedBackend>, bool) {
    let silent = || backends.iter().filter(|backend| backend.silence > lost_after);
    let late_after = lost_after.saturating_sub(HEARTBEAT_INTERVAL).max(HEARTBEAT_INTERVAL).min(lost_after);
    let holders = || backends.iter().filter(|backend| backend.holds_instances);
    let late_holders = holders().filter(|backend| backend.silence > late_after).count();
    let mass_failure =
        is_mass_failure(late_holders, holders().count()) && silent().any(|silent| silent.holds_instances);
    (silent().filter(|backend| !(mass_failure && backend.holds_instances)).copied().collect(), mass_failure)
}

/// When changed facts of a connected backend were recorded, for the last [`FACTS_INTERVAL`].
#[derive(Debug, Default)]
struct FactsThrottle(BTreeMap<BackendId, Instant>);

impl FactsThrottle {
    /// Whether changed facts of this backend may be recorded now. If not, a later heartbeat has them again.
    fn permit(&mut self, backend: BackendId, now: Instant) -> bool {
        self.0.retain(|_, recorded| now.saturating_duration_since(*recorded) < FACTS_INTERVAL);
        if self.0.contains_key(&backend) {
            return false;
        }
        self.0.insert(backend, now);
        true
    }
}

/// Whether the log says that many backends are silent.
#[derive(Debug, Default)]
struct Alarm {
    raised: bool,
    last: Option<Instant>,
}

impl Alarm {
    /// What to log: that a mass failure began, or that it is over. Each change once, and the beginning at most once per
    /// [`ALARM_INTERVAL`], because with backends that come and go it changes each second.
    fn change(&mut self, mass_failure: bool, now: Instant) -> Option<bool> {
        let is_recent = self.last.is_some_and(|last| now.saturating_duration_since(last) < ALARM_INTERVAL);
        if mass_failure == self.raised || (mass_failure && is_recent) {
            return None;
        }
        self.raised = mass_failure;
        if mass_failure {
            self.last = Some(now);
        }
        Some(mass_failure)
    }
}

/// The liveness role.
pub struct Liveness {
    /// Executes the commands.
    pub executor: Arc<Executor>,
    /// Knows the fleet.
    pub follower: Arc<Follower>,
    /// The last heartbeats.
    pub heartbeats: Arc<HeartbeatRegistry>,
    /// A backend that is silent for longer is lost.
    pub lost_after: Duration,
}

impl Liveness {
    /// Marks backends connected or lost until cancelled.
    ///
    /// # Errors
    /// None; every role has this signature.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Cause> {
        let mut heartbeats = self.heartbeats.subscribe();
        let mut check = tokio::time::interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut alarm = Alarm::default();
        let mut throttle = FactsThrottle::default();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                changed = heartbeats.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.mark_heard_connected(&mut throttle).await;
                }
                _ = check.tick() => {
                    // Otherwise the fleet is an old one.
                    if !self.follower.is_live() {
                        continue;
                    }
                    let too_many = self.mark_silent_lost().await;
                    match alarm.change(too_many, Instant::now()) {
                        Some(true) => tracing::error!("many backends with instances fell silent at once; none of these is marked lost, check the network"),
                        Some(false) => tracing::info!("the mass failure of backends is over"),
                        None => {}
                    }
                }
            }
        }
    }

    async fn mark_heard_connected(&self, throttle: &mut FactsThrottle) {
        for (backend, last) in self.heartbeats.take_new() {
            if last.received.elapsed() < self.lost_after {
                self.connect(backend, last, throttle).await;
            }
        }
    }

    async fn connect(&self, backend: BackendId, last: LastHeartbeat, throttle: &mut FactsThrottle) {
        let facts = Connected::from_heartbeat(&last.heartbeat);
        // Nothing can be appended for it here; the follower has logged why.
        if self.is_frozen(backend) {
            return;
        }
        let connected =
            self.follower.fleet().machine(backend).filter(|machine| machine.connection == ConnectionState::Connected);
        if let Some(machine) = connected
            && (machine.agent_info.as_ref() == Some(&facts) || !throttle.permit(backend, Instant::now()))
        {
            return;
        }
        match self.executor.execute(backend, self.origin("heartbeat"), MarkConnected(facts)).await {
            Ok(done) if done.stored.is_some() => tracing::info!(%backend, "backend connected"),
            Ok(_) => {}
            // It was removed, and cleans up.
            Err(ExecuteError::Rejected(error)) => tracing::debug!(%backend, %error, "heartbeat ignored"),
            Err(error) => tracing::warn!(%backend, %error, "could not mark a backend connected"),
        }
    }

    /// Marks silent backends lost; returns whether too many are silent to do so with those that hold instances.
    async fn mark_silent_lost(&self) -> bool {
        let backends = self.follower.fleet().connected().into_iter().map(|(id, instances)| {
            let silence = self.heartbeats.silence(id).unwrap_or_default();
            ConnectedBackend { id, holds_instances: instances > 0, silence }
        });
        let (lost, mass_failure) = classify(&backends.collect::<Vec<_>>(), self.lost_after);
        for ConnectedBackend { id: backend, silence, .. } in lost.into_iter().filter(|lost| !self.is_frozen(lost.id)) {
            let command = MarkLost { silent_for_seconds: silence.as_secs() };
            match self.executor.execute(backend, self.origin("silence"), command).await {
                Ok(_) => tracing::warn!(%backend, "backend lost"),
                Err(error) => tracing::warn!(%backend, %error, "could not mark a backend lost"),
            }
        }
        mass_failure
    }

    fn is_frozen(&self, backend: BackendId) -> bool {
        self.follower.frozen().get(&AggregateId::Backend(backend).to_string()).is_some()
    }

    fn origin(&self, cause: &str) -> Origin {
        Origin::new(Actor::System, format!("liveness:{cause}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn alarm_that_comes_and_goes_is_logged_once_a_minute() {
        let (mut alarm, start) = (Alarm::default(), Instant::now());
        let logged: Vec<_> = (0..=120)
            .filter_map(|second| {
                let change = alarm.change(second % 2 == 0, start + Duration::from_secs(second))?;
                Some((second, change))
            })
            .collect();
        assert_eq!(logged, [(0, true), (1, false), (60, true), (61, false), (120, true)]);
        let lasting = (121..300).filter_map(|second| alarm.change(true, start + Duration::from_secs(second)));
        assert_eq!(lasting.count(), 0, "the same failure");
    }

    /// Silent and other backends, with and without instances.
    fn backends(numbers: [(bool, bool, usize); 4]) -> Vec<ConnectedBackend> {
        let each = numbers.iter().flat_map(|(silent, holds, count)| std::iter::repeat_n((*silent, *holds), *count));
        (0..)
            .zip(each)
            .map(|(n, (silent, holds_instances))| ConnectedBackend {
                id: BackendId::from_uuid(Uuid::from_u128(n)),
                holds_instances,
                silence: Duration::from_secs(if silent { 16 } else { 1 }),
            })
            .collect()
    }

    /// The number of backends that are lost, and whether it is a mass failure, among silent and other ones that hold
    /// instances, and silent and other ones that don't.
    fn classified(silent_holders: usize, holders: usize, silent_idle: usize, idle: usize) -> (usize, bool) {
        let backends =
            [(true, true, silent_holders), (false, true, holders), (true, false, silent_idle), (false, false, idle)];
        let (lost, mass_failure) = classify(&self::backends(backends), Duration::from_secs(15));
        (lost.len(), mass_failure)
    }

    #[test]
    fn facts_that_change_with_each_heartbeat_are_recorded_once_per_interval() {
        let [flapping, other] = [1, 2].map(|n| BackendId::from_uuid(Uuid::from_u128(n)));
        let (start, mut throttle) = (Instant::now(), FactsThrottle::default());
        let mut permitted = |backend, seconds| throttle.permit(backend, start + Duration::from_secs(seconds));
        let recorded = (0..60).filter(|second| permitted(flapping, *second)).count();
        assert_eq!(recorded, 6);
        assert!(permitted(other, 60), "another backend has its own interval");
    }

    #[test]
    fn classify_many_silent_with_instances_is_a_mass_failure() {
        assert_eq!(classified(0, 0, 0, 0), (0, false));
        assert_eq!(classified(2, 0, 0, 0), (2, false));
        assert_eq!(classified(3, 9, 0, 0), (3, false));
        assert_eq!(classified(3, 8, 0, 0), (0, true));
    }

    #[test]
    fn classify_counts_those_that_are_about_to_be_lost() {
        let mut backends = backends([(true, true, 3), (false, true, 8), (false, false, 0), (false, false, 0)]);
        for late in &mut backends[1..3] {
            late.silence = Duration::from_secs(10);
        }
        let (lost, mass_failure) = classify(&backends, Duration::from_secs(15));
        assert_eq!((lost.len(), mass_failure), (0, true));
    }

    #[test]
    fn classify_backends_without_instances_never_raise_the_alarm() {
        assert_eq!(classified(0, 2, 10, 0), (10, false));
        assert_eq!(classified(3, 0, 10, 50), (10, true), "they are lost even during a mass failure of others");
    }
}
