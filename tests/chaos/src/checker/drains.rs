//! I21: a drain ends as promised: at its deadline, or with nothing left on the machine. Then nothing is placed or resumed
//! there until the drain is undone.
//!
//! That a drain ends is part of I16.

use std::collections::BTreeMap;
use std::time::Duration;

use dockhost_domain::aggregate::{Aggregate, Meta};
use dockhost_domain::backend::{Backend, BackendEvent, Drain};
use dockhost_domain::event::Event;
use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::DrainStep;
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::DesiredState;

use super::log::{Log, Logged};
use super::{Invariant, Violations};

/// How far a replica's time may be behind the time of the drain's events.
const CLOCKS: Duration = Duration::from_secs(2);

/// How long after its deadline a drain may end while nothing is faulty.
const LATE: Duration = Duration::from_secs(10);

/// The backends, from their events so far.
#[derive(Default)]
struct Backends(BTreeMap<BackendId, Backend>);

impl Backends {
    fn evolve(&mut self, id: BackendId, event: &BackendEvent, meta: &Meta) {
        self.0.entry(id).or_default().evolve(event, meta);
    }

    fn drain(&self, id: BackendId) -> Option<Drain> {
        self.0.get(&id)?.machine.as_ref()?.drain
    }

    /// The drains that were not undone.
    fn drains(&self) -> impl Iterator<Item = (BackendId, Drain)> {
        self.0.keys().filter_map(|id| Some((*id, self.drain(*id)?)))
    }
}

pub(super) fn check(log: &Log, violations: &mut Violations) {
    let mut backends = Backends::default();
    for logged in &log.events {
        let envelope = &logged.recorded.envelope;
        match (&envelope.aggregate, &envelope.event) {
            (AggregateId::Backend(id), Event::Backend(event)) => {
                if let BackendEvent::DrainEnded(ended) = event
                    && let Some(drain) = backends.drain(*id)
                {
                    let left = left(log, *id, logged.sequence());
                    let is_early = envelope.meta.time.after(CLOCKS) < drain.deadline;
                    if ended.left > 0 && is_early {
                        let what = format!("a drain until {} ended with {} instances left", drain.deadline, ended.left);
                        violations.add(Invariant::I21, what, [id], [logged.sequence()]);
                    }
                    if ended.left == 0 && !left.is_empty() {
                        let what = "a drain ended with nothing left, but these instances are";
                        let objects = left.iter().map(ToString::to_string).chain([id.to_string()]);
                        violations.add(Invariant::I21, what, objects, [logged.sequence()]);
                    }
                }
                backends.evolve(*id, event, &envelope.meta);
            }
            (AggregateId::Tenancy(_), Event::Tenancy(event)) => {
                let Some(instance) = event.instance_id() else { continue };
                let state = log.instance(instance).and_then(|timeline| timeline.at(logged.sequence()));
                for (id, drain) in backends.drains() {
                    let step = state.and_then(|state| state.drain_step(id));
                    let runs = matches!(step, Some(DrainStep::Running | DrainStep::Creating));
                    if drain.ended_at.is_some() && runs && !is_left(log, id, instance, logged.sequence() - 1) {
                        let what = "an instance is wanted on a machine after the drain of it has ended";
                        violations.add(
                            Invariant::I21,
                            what,
                            [instance.to_string(), id.to_string()],
                            [logged.sequence()],
                        );
                    }
                }
            }
            _ => {}
        }
    }
}

/// The instances on a machine that are not stopped, at a sequence. Stopped ones may be deleted at any moment.
fn left(log: &Log, machine: BackendId, sequence: u64) -> Vec<InstanceId> {
    log.instances().keys().copied().filter(|id| is_left(log, machine, *id, sequence)).collect()
}

fn is_left(log: &Log, machine: BackendId, instance: InstanceId, sequence: u64) -> bool {
    let state = log.instance(instance).and_then(|timeline| timeline.at(sequence));
    let kept = state.filter(|state| state.desired != DesiredState::Deleted);
    !matches!(kept.and_then(|state| state.drain_step(machine)), None | Some(DrainStep::Stopped))
}

/// I16: drains that should have ended at `at`.
pub(super) fn pending(log: &Log, at: Timestamp, violations: &mut Violations) {
    let mut backends = Backends::default();
    for logged in &log.events {
        let envelope = &logged.recorded.envelope;
        if let (AggregateId::Backend(id), Event::Backend(event)) = (&envelope.aggregate, &envelope.event) {
            backends.evolve(*id, event, &envelope.meta);
        }
    }
    for (id, drain) in backends.drains() {
        if drain.ended_at.is_none() && drain.deadline.after(LATE) < at {
            let what = format!("a drain until {} has not ended", drain.deadline);
            let aggregate = AggregateId::Backend(id);
            violations.add(Invariant::I16, what, [aggregate], log.of(aggregate).last().map(Logged::sequence));
        }
    }
}
