//! I7, and I6 for machines: checks all changes to the machines' containers against the log.

use std::collections::{BTreeMap, BTreeSet};

use dockhost_domain::event::Event;
use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::tenancy::TenancyEvent;

use super::log::Log;
use super::{Invariant, Violations};
use crate::observation::{Change, Machine, Observation};

/// The containers of one machine.
#[derive(Debug, Default)]
pub(super) struct Containers {
    /// By id: instance, placement, whether it runs.
    pub current: BTreeMap<String, (InstanceId, u32, bool)>,
    /// The highest number at once.
    pub peak: usize,
    /// Each created one, in order.
    pub created: Vec<(InstanceId, u32)>,
}

impl Containers {
    pub(super) fn of(machine: &Machine) -> Self {
        let mut containers = Self::default();
        for change in &machine.changes {
            match change {
                Change::Put { id, instance, placement, running } => {
                    // An existing container is written again with each change and when the agent starts.
                    if containers.current.insert(id.clone(), (*instance, *placement, *running)).is_none() {
                        containers.created.push((*instance, *placement));
                    }
                }
                Change::Removed { id } => drop(containers.current.remove(id)),
            }
            containers.peak = containers.peak.max(containers.current.len());
        }
        containers
    }
}

pub(super) fn check(observation: &Observation, log: &Log, violations: &mut Violations) {
    let assigned = assigned(log);
    let mut created: BTreeMap<(InstanceId, u32), &str> = BTreeMap::new();
    let mut remaining: BTreeMap<InstanceId, Vec<&str>> = BTreeMap::new();
    for machine in &observation.machines {
        let containers = Containers::of(machine);
        if containers.peak > machine.max_containers {
            let what = format!("{} containers at once, the maximum is {}", containers.peak, machine.max_containers);
            violations.add(Invariant::I6, what, [&machine.name], []);
        }
        for placement in containers.created {
            let (instance, number) = placement;
            if let Some(other) = created.insert(placement, &machine.name) {
                let what = format!("placement {number} has a second container, on {} after {other}", machine.name);
                violations.add(Invariant::I7, what, [instance], []);
            }
            match assigned.get(&placement) {
                Some((backend, _)) if *backend == machine.backend_id => {}
                Some((backend, sequence)) => {
                    let what = format!(
                        "placement {number} was assigned to {backend}, but its container is on {}",
                        machine.name
                    );
                    violations.add(Invariant::I7, what, [instance], [*sequence]);
                }
                None => {
                    let what = format!(
                        "a container on {} belongs to placement {number}, which is not in the log",
                        machine.name
                    );
                    violations.add(Invariant::I7, what, [instance], []);
                }
            }
        }
        for (instance, _, _) in containers.current.values() {
            remaining.entry(*instance).or_default().push(&machine.name);
        }
    }
    for (instance, machines) in remaining.iter().filter(|(_, machines)| machines.len() > 1) {
        let distinct: BTreeSet<_> = machines.iter().collect();
        let what = format!("{} containers at the end, on {distinct:?}", machines.len());
        violations.add(Invariant::I7, what, [instance], []);
    }
}

/// The machine of each placement, with the sequence of the event.
fn assigned(log: &Log) -> BTreeMap<(InstanceId, u32), (BackendId, u64)> {
    let mut assigned = BTreeMap::new();
    for logged in &log.events {
        let Event::Tenancy(event) = &logged.recorded.envelope.event else { continue };
        match event {
            TenancyEvent::Requested(e) => {
                assigned.insert((e.instance_id, 1), (e.choice.backend_id, logged.sequence()));
            }
            TenancyEvent::Placed(e) => {
                assigned.insert((e.instance_id, e.placement), (e.choice.backend_id, logged.sequence()));
            }
            TenancyEvent::Moved(e) => {
                assigned.insert((e.instance_id, e.placement), (e.choice.backend_id, logged.sequence()));
            }
            _ => {}
        }
    }
    assigned
}
