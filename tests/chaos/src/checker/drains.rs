//! I21: a drain ends as promised: at its deadline, or with nothing left on the machine. Then nothing is placed or resumed
//! there until the drain is undone.
//!
//! That a drain ends is part of I16.

use std::collections::BTreeMap;
use std::time::Duration;

use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::backend::{Backend, BackendEvent, Drain};
use dockhost_domain::event::Event;
use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::DrainStep;
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::DesiredState;

use super::log::Log;
use super::{Invariant, Violations};

/// How far a replica's time may be behind the time of the drain's events.
const CLOCKS: Duration = Duration::from_secs(2);

/// How long after its deadline a drain may end while nothing is faulty.
const LATE: Duration = Duration::from_secs(10);

pub(super) fn check(log: &Log, violations: &mut Violations) {
    let mut drains: BTreeMap<BackendId, Drain> = BTreeMap::new();
    let mut backends: BTreeMap<BackendId, Backend> = BTreeMap::new();
    for logged in &log.events {
        let envelope = &logged.recorded.envelope;
        match (&envelope.aggregate, &envelope.event) {
            (AggregateId::Backend(id), Event::Backend(event)) => {
                if let BackendEvent::DrainEnded(ended) = event
                    && let Some(drain) = drains.get(id)
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
                let backend = backends.entry(*id).or_default();
                backend.evolve(event, &envelope.meta);
                match backend.machine.as_ref().and_then(|machine| machine.drain) {
                    Some(drain) => drains.insert(*id, drain),
                    None => drains.remove(id),
                };
            }
            (AggregateId::Tenancy(_), Event::Tenancy(event)) => {
                let Some(instance) = event.instance_id() else { continue };
                let state = log.instance(instance).and_then(|timeline| timeline.at(logged.sequence()));
                for (id, drain) in &drains {
                    let step = state.and_then(|state| state.drain_step(*id));
                    let runs = matches!(step, Some(DrainStep::Running | DrainStep::Creating));
                    if drain.ended_at.is_some() && runs && !is_left(log, *id, instance, logged.sequence() - 1) {
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
    for (aggregate, events) in log.aggregates() {
        if !matches!(aggregate, AggregateId::Backend(_)) {
            continue;
        }
        let mut backend = Backend::default();
        let mut last = 0;
        for logged in events {
            if let Event::Backend(event) = &logged.recorded.envelope.event {
                backend.evolve(event, &logged.recorded.envelope.meta);
                last = logged.sequence();
            }
        }
        let drain = backend.machine.and_then(|machine| machine.drain).filter(|drain| drain.ended_at.is_none());
        if let Some(drain) = drain
            && drain.deadline.after(LATE) < at
        {
            let what = format!("a drain until {} has not ended", drain.deadline);
            violations.add(Invariant::I16, what, [aggregate], [last]);
        }
    }
}
