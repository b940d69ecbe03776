//! I7, and the machines' half of I6: everything that ever happened to the containers.
//!
//! In: each machine's changes, and the log. Out: a placement with two containers, or with one on a machine that was
//! not chosen for it; a machine that held more than it takes; an instance with two containers in the end.

use std::collections::{BTreeMap, BTreeSet};

use dockhost_domain::event::Event;
use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::tenancy::TenancyEvent;

use super::log::Log;
use super::{Found, Invariant};
use crate::observation::{Change, Machine, Observation};

/// The containers of one machine.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// By id: instance, placement, whether it runs.
    pub now: BTreeMap<String, (InstanceId, u32, bool)>,
    /// The most at once.
    pub most: usize,
    /// Each that came to be, in order.
    pub made: Vec<(InstanceId, u32)>,
}

impl Held {
    pub(super) fn of(machine: &Machine) -> Self {
        let mut held = Self::default();
        for change in &machine.changes {
            match change {
                Change::Put { id, instance, placement, running } => {
                    // One that is there is written again with each change, and when the agent starts anew.
                    if held.now.insert(id.clone(), (*instance, *placement, *running)).is_none() {
                        held.made.push((*instance, *placement));
                    }
                }
                Change::Removed { id } => drop(held.now.remove(id)),
            }
            held.most = held.most.max(held.now.len());
        }
        held
    }
}

pub(super) fn check(observation: &Observation, log: &Log, found: &mut Found) {
    let chosen = chosen(log);
    let mut made: BTreeMap<(InstanceId, u32), &str> = BTreeMap::new();
    let mut alive: BTreeMap<InstanceId, Vec<&str>> = BTreeMap::new();
    for machine in &observation.machines {
        let held = Held::of(machine);
        if held.most > machine.max_containers {
            let what = format!("{} containers at once, it takes {}", held.most, machine.max_containers);
            found.add(Invariant::I6, what, [&machine.name], []);
        }
        for placement in held.made {
            let (instance, number) = placement;
            if let Some(other) = made.insert(placement, &machine.name) {
                let what = format!("placement {number} got a second container, on {} after {other}", machine.name);
                found.add(Invariant::I7, what, [instance], []);
            }
            match chosen.get(&placement) {
                Some((backend, _)) if *backend == machine.backend_id => {}
                Some((backend, sequence)) => {
                    let what = format!("placement {number} is {backend}'s, its container is on {}", machine.name);
                    found.add(Invariant::I7, what, [instance], [*sequence]);
                }
                None => {
                    let what = format!("a container on {} of a placement {number} that nobody chose", machine.name);
                    found.add(Invariant::I7, what, [instance], []);
                }
            }
        }
        for (instance, _, _) in held.now.values() {
            alive.entry(*instance).or_default().push(&machine.name);
        }
    }
    for (instance, machines) in alive.iter().filter(|(_, machines)| machines.len() > 1) {
        let distinct: BTreeSet<_> = machines.iter().collect();
        let what = format!("{} containers in the end, on {distinct:?}", machines.len());
        found.add(Invariant::I7, what, [instance], []);
    }
}

/// Which machine each placement was given to, and where the log says so.
fn chosen(log: &Log) -> BTreeMap<(InstanceId, u32), (BackendId, u64)> {
    let mut chosen = BTreeMap::new();
    for logged in &log.events {
        let Event::Tenancy(event) = &logged.recorded.envelope.event else { continue };
        match event {
            TenancyEvent::Requested(e) => {
                chosen.insert((e.instance_id, 1), (e.choice.backend_id, logged.sequence()));
            }
            TenancyEvent::Placed(e) => {
                chosen.insert((e.instance_id, e.placement), (e.choice.backend_id, logged.sequence()));
            }
            _ => {}
        }
    }
    chosen
}
