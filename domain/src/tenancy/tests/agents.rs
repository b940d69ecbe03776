//! Machines that do as they are told and tell the truth bring everything to an end.
//!
//! In: any world, and any containers on its machines. Then each machine in turn compares what it is told with what it
//! has, acts, and reports. Out: after a few rounds nothing is pending, another round changes nothing, and what runs is
//! what is wanted.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::build::*;
use super::world::{MACHINES, World, scenes};
use crate::ids::{BackendId, InstanceId};
use crate::tenancy::{Facts, HandleDeadline, Progress, check_invariants, desired_assignments};
use crate::testing::{many_cases, user};
use crate::wire::{Assignment, DesiredState, Observation, Phase, Report, ReportKind};

/// A container as its machine knows it.
#[derive(Debug, Clone, PartialEq)]
struct Container {
    placement: u32,
    seen: Observation,
}

/// How a machine behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    /// Does what it can.
    Obeys,
    /// Makes no new container.
    Refuses,
    /// Neither acts nor speaks.
    Silent,
}

#[derive(Debug, Default)]
struct Fleet {
    containers: BTreeMap<(BackendId, InstanceId), Container>,
    made: u32,
}

impl Fleet {
    /// Does as told, and says what there is now.
    fn obey(&mut self, backend: BackendId, told: &Assignment, manner: Manner) -> ReportKind {
        let at = (backend, told.instance_id);
        let Some(spec) = &told.container else {
            self.containers.remove(&at);
            return ReportKind::InstanceDeleted;
        };
        self.containers.retain(|place, container| *place != at || container.placement == told.placement);
        let known =
            |container: &Container| spec.container_id.as_ref().is_none_or(|id| *id == container.seen.container_id);
        let phase = if told.desired == DesiredState::Running { Phase::Running } else { Phase::Stopped };
        match self.containers.get_mut(&at) {
            Some(container) if known(container) => {
                container.seen.phase = phase;
                ReportKind::InstanceStatus(container.seen.clone())
            }
            _ if spec.container_id.is_some() => could_not("container_gone"),
            _ if manner == Manner::Refuses => refused("image_missing"),
            _ => {
                self.made += 1;
                let seen = Observation { container_id: format!("made-{}", self.made), ..container(phase) };
                self.containers.insert(at, Container { placement: told.placement, seen: seen.clone() });
                ReportKind::InstanceCreated(seen)
            }
        }
    }

    /// Each machine looks at each instance once; returns how many events came of it.
    fn round(&mut self, world: &mut World, manners: [Manner; 3]) -> usize {
        let mut events = 0;
        for (backend, manner) in MACHINES.into_iter().zip(manners).filter(|(_, manner)| *manner != Manner::Silent) {
            let strays = self.containers.keys().map(|(_, id)| *id);
            let instances: BTreeSet<_> = world.instances().chain(strays).collect();
            for instance_id in instances {
                let instance = world.tenancy.instance(instance_id);
                let told = instance.and_then(|known| desired_assignments(user(1), instance_id, known).remove(&backend));
                let report = |placement, generation, news| {
                    let user_id = user(1);
                    Report { instance_id, user_id, placement, generation, kind: news }
                };
                let answer = match told {
                    Some(told) => {
                        let news = self.obey(backend, &told, manner);
                        world.hear(backend, report(told.placement, told.generation, news))
                    }
                    // A container that it was told nothing of.
                    None => match self.containers.get(&(backend, instance_id)) {
                        None => continue,
                        Some(found) => {
                            let news = ReportKind::InstanceStatus(found.seen.clone());
                            world.hear(backend, report(found.placement, 1, news))
                        }
                    },
                };
                match answer {
                    Ok(event) => events += usize::from(event.is_some()),
                    // It is told to remove it.
                    Err(_) => drop(self.containers.remove(&(backend, instance_id))),
                }
            }
        }
        events
    }
}

fn pending(world: &World) -> Vec<InstanceId> {
    world.tenancy.all().filter(|(_, instance)| instance.deadline().is_some()).map(|(id, _)| id).collect()
}

/// Every deadline that is set now passes.
fn pass_deadlines(world: &mut World) {
    for instance_id in pending(world) {
        let Some(instance) = world.tenancy.instance(instance_id).cloned() else { continue };
        let Some(now) = instance.deadline() else { continue };
        let facts = Facts { now, ..facts(0) };
        world.decide(&HandleDeadline { instance_id, generation: instance.generation, facts }).unwrap();
    }
}

/// Containers that there are when the machines begin to behave.
fn fleets() -> impl Strategy<Value = Fleet> {
    let on = (0_usize..3, 1_u128..5).prop_map(|(machine, n)| (MACHINES[machine], instance(n)));
    let found = (1_u32..4, any::<bool>(), 0..3).prop_map(|(placement, runs, n)| {
        let phase = if runs { Phase::Running } else { Phase::Stopped };
        Container { placement, seen: Observation { container_id: format!("c{n}"), ..container(phase) } }
    });
    prop::collection::btree_map(on, found, 0..8).prop_map(|containers| Fleet { containers, made: 0 })
}

fn manners(among: [Manner; 3]) -> impl Strategy<Value = [Manner; 3]> {
    [0_usize..3, 0..3, 0..3].prop_map(move |drawn| drawn.map(|n| among[n]))
}

/// What runs is what is wanted, as far as its machine can be heard.
fn check_as_wanted(world: &World, fleet: &Fleet, manners: [Manner; 3]) -> Result<(), TestCaseError> {
    let heard =
        |backend: BackendId| MACHINES.into_iter().zip(manners).any(|(b, m)| b == backend && m != Manner::Silent);
    for ((backend, id), container) in fleet.containers.iter().filter(|((backend, _), _)| heard(*backend)) {
        let site = world.tenancy.instance(*id).and_then(|instance| instance.current_placement.as_ref());
        prop_assert!(
            site.is_some_and(|site| site.backend_id == *backend),
            "{:?} on {} is nobody's",
            container,
            backend
        );
    }
    for (id, instance) in world.tenancy.all() {
        prop_assert!(instance.pending_removals.keys().all(|backend| !heard(*backend)), "not released: {:?}", instance);
        let Some(site) = instance.current_placement.as_ref().filter(|site| heard(site.backend_id)) else { continue };
        if instance.progress == Progress::Stable {
            let container = fleet.containers.get(&(site.backend_id, id));
            let seen = site.last_observation.as_ref().map(|seen| &seen.observation);
            prop_assert_eq!(container.map(|container| &container.seen), seen);
            prop_assert_eq!(container.map(|container| container.placement), Some(instance.placement));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(many_cases())]

    /// Three machines, so three tries; then one round in which what was given up is confirmed.
    #[test]
    fn truthful_machines_bring_everything_to_an_end_before_any_deadline(
        scenes in scenes(),
        mut fleet in fleets(),
        manners in manners([Manner::Obeys, Manner::Obeys, Manner::Refuses]),
    ) {
        let mut world = World::play(&scenes, |_, _| Ok(()))?;
        for _ in 0..4 {
            fleet.round(&mut world, manners);
            prop_assert_eq!(check_invariants(&world.tenancy), Ok(()));
        }
        prop_assert_eq!(pending(&world), vec![]);
        prop_assert_eq!(fleet.round(&mut world, manners), 0, "another round changes nothing");
        check_as_wanted(&world, &fleet, manners)?;
    }

    /// Where machines are silent, deadlines do it: each round tries or ends something.
    #[test]
    fn deadlines_end_what_silent_machines_leave_open(
        scenes in scenes(),
        mut fleet in fleets(),
        manners in manners([Manner::Obeys, Manner::Refuses, Manner::Silent]),
    ) {
        let mut world = World::play(&scenes, |_, _| Ok(()))?;
        for _ in 0..4 {
            fleet.round(&mut world, manners);
            pass_deadlines(&mut world);
            prop_assert_eq!(check_invariants(&world.tenancy), Ok(()));
        }
        prop_assert_eq!(pending(&world), vec![]);
        fleet.round(&mut world, manners);
        prop_assert_eq!(fleet.round(&mut world, manners), 0, "another round changes nothing");
        check_as_wanted(&world, &fleet, manners)?;
    }
}
