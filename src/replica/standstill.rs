//! Notices machines that carry out nothing, although commands wait for them.
//!
//! A machine can be heard while its assignments or its reports do not arrive, for example because the node of the broker
//! that has its consumer is cut off from the others. Then commands are stored, and nothing happens until their deadlines.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dockhost_domain::envelope::{Actor, Envelope};
use dockhost_domain::event::Event;
use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::tenancy::event::{FailureReason, PlacementChange, TenancyEvent};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::follower::Follower;

/// A machine that reports nothing for so long, while commands wait for it, stands still. Longer than a container takes to
/// end, which is the slowest step of an agent.
const LIMIT: Duration = Duration::from_secs(8);
/// A machine that stood still is late for so long after its next report: one report does not show that it is well.
const RECOVERY: Duration = Duration::from_secs(15);
/// Without a command for so long, nothing shows that a machine which missed a deadline still stands still.
const RECENT: Duration = Duration::from_secs(10 * 60);
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The commands that wait for machines.
#[derive(Debug, Default)]
pub struct Standstills(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The machine of each command that waits, by its instance.
    waiting: HashMap<InstanceId, BackendId>,
    machines: HashMap<BackendId, Machine>,
}

#[derive(Debug, Default)]
struct Machine {
    waiting: HashSet<InstanceId>,
    /// When the first command was stored that waits since the last report; `None` if none waits.
    silent_since: Option<Instant>,
    /// The end of the last standstill.
    recovered_at: Option<Instant>,
}

/// Machines that are late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standstill {
    /// How many.
    pub machines: usize,
    /// The longest time without a report; `None` if all have reported again lately.
    pub longest: Option<Duration>,
}

impl std::fmt::Display for Standstill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { machines, longest } = self;
        let (subject, verb) = if *machines == 1 { ("machine", "has") } else { ("machines", "have") };
        write!(f, "{machines} {subject} {verb} carried out commands late")?;
        match longest {
            Some(longest) => write!(f, " or not at all, and reported nothing for up to {} s", longest.as_secs())?,
            None => f.write_str(" a moment ago")?,
        }
        f.write_str("; look at the agents' logs, and at the nodes of the broker")
    }
}

impl Machine {
    /// How long it has stood still, at `now`.
    fn still_for(&self, now: Instant) -> Option<Duration> {
        let silent = now.saturating_duration_since(self.silent_since?);
        let is_known = !self.waiting.is_empty() || silent < RECENT;
        (silent >= LIMIT && is_known).then_some(silent)
    }

    fn has_recovered_lately(&self, now: Instant) -> bool {
        self.recovered_at.is_some_and(|at| now.saturating_duration_since(at) < RECOVERY)
    }
}

impl State {
    fn begin(&mut self, instance: InstanceId, backend: BackendId, now: Instant) {
        self.end(instance, false);
        self.waiting.insert(instance, backend);
        let machine = self.machines.entry(backend).or_default();
        machine.waiting.insert(instance);
        machine.silent_since.get_or_insert(now);
    }

    /// Ends the wait for an instance. A command that missed its deadline leaves its machine standing still.
    fn end(&mut self, instance: InstanceId, is_late: bool) {
        let Some(backend) = self.waiting.remove(&instance) else { return };
        let Some(machine) = self.machines.get_mut(&backend) else { return };
        machine.waiting.remove(&instance);
        if machine.waiting.is_empty() && !is_late {
            machine.silent_since = None;
        }
    }

    fn report(&mut self, backend: BackendId, now: Instant) {
        let Some(machine) = self.machines.get_mut(&backend) else { return };
        if machine.still_for(now).is_some() {
            machine.recovered_at = Some(now);
        }
        machine.silent_since = (!machine.waiting.is_empty()).then_some(now);
    }
}

impl Standstills {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies an event of the log, which has just arrived. `backend_of` finds the machine of an instance.
    pub fn observe(&self, envelope: &Envelope, backend_of: impl FnOnce(InstanceId) -> Option<BackendId>) {
        let Event::Tenancy(event) = &envelope.event else { return };
        let now = Instant::now();
        let mut state = self.state();
        if let Actor::Backend(backend) = envelope.origin.actor {
            state.report(backend, now);
        }
        let Some(instance) = event.instance_id() else { return };
        match event {
            _ if event.sets_deadline() => {
                let added = |(backend, change)| (change == PlacementChange::Added).then_some(backend);
                let placed = event.placement_changes().into_iter().find_map(added);
                if let Some(backend) = placed.or_else(|| backend_of(instance)) {
                    state.begin(instance, backend, now);
                }
            }
            TenancyEvent::Failed(failed) => state.end(instance, failed.failure.reason == FailureReason::Late),
            TenancyEvent::Observed(_) | TenancyEvent::Deleted(_) | TenancyEvent::Released(_) => {
                state.end(instance, false);
            }
            _ => {}
        }
    }

    /// The machines that stand still or did lately, of those that count; `None` if there is none.
    #[must_use]
    pub fn late(&self, counts: impl Fn(BackendId) -> bool) -> Option<Standstill> {
        let now = Instant::now();
        let mut state = self.state();
        state.machines.retain(|_, machine| {
            !machine.waiting.is_empty() || machine.still_for(now).is_some() || machine.has_recovered_lately(now)
        });
        let late = state.machines.iter().filter(|(backend, machine)| {
            (machine.still_for(now).is_some() || machine.has_recovered_lately(now)) && counts(**backend)
        });
        let (mut machines, mut longest) = (0, None);
        for (_, machine) in late {
            machines += 1;
            longest = longest.max(machine.still_for(now));
        }
        drop(state);
        (machines > 0).then_some(Standstill { machines, longest })
    }
}

/// Logs when machines begin to stand still and when all carry out commands in time again, until cancelled.
pub async fn log_changes(follower: Arc<Follower>, cancel: CancellationToken) {
    let mut were = 0;
    while cancel.run_until_cancelled(sleep(LOG_INTERVAL)).await.is_some() {
        let late = follower.standstill();
        let are = late.map_or(0, |late| late.machines);
        match late {
            Some(late) if were == 0 => tracing::error!("{late}"),
            None if were > 0 => tracing::info!("all machines carry out commands in time again"),
            _ => {}
        }
        were = are;
    }
}

#[cfg(test)]
mod tests;
