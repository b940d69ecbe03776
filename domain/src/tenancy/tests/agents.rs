//! Truthful agents and deadlines bring every instance to its desired state or to a failure.
//!
//! Each test starts from a random simulation with random containers on the backends. In each round, each agent
//! reconciles its containers with its assignments and reports. After a few rounds nothing is pending, a further round
//! changes nothing, and the containers match the tenancy.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::fixtures::*;
use super::simulation::{BACKENDS, Simulation, any_steps};
use crate::ids::{BackendId, InstanceId};
use crate::tenancy::event::RecordedObservation;
use crate::tenancy::{Facts, HandleDeadline, Progress, check_invariants, desired_assignments};
use crate::testing::{many_cases, user};
use crate::wire::{Assignment, DesiredState, Observation, Phase, Report, ReportKind};

/// A container on a backend.
#[derive(Debug, Clone, PartialEq)]
struct Container {
    placement: u32,
    observation: Observation,
}

/// How an agent behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Behavior {
    Obeys,
    /// Refuses to create containers.
    Refuses,
    /// Neither acts nor reports.
    Silent,
}

/// The agents of all backends, with their containers.
#[derive(Debug, Default)]
struct Agents {
    containers: BTreeMap<(BackendId, InstanceId), Container>,
    created: u32,
}

impl Agents {
    /// Executes an assignment and reports the result.
    fn reconcile(&mut self, backend: BackendId, assignment: &Assignment, behavior: Behavior) -> ReportKind {
        let key = (backend, assignment.instance_id);
        let Some(spec) = &assignment.container else {
            self.containers.remove(&key);
            return ReportKind::InstanceDeleted;
        };
        self.containers.retain(|other, container| *other != key || container.placement == assignment.placement);
        let is_expected = |container: &Container| {
            spec.container_id.as_ref().is_none_or(|id| **id == *container.observation.container_id)
        };
        let phase = if assignment.desired == DesiredState::Running { Phase::Running } else { Phase::Stopped };
        match self.containers.get_mut(&key) {
            Some(container) if is_expected(container) => {
                container.observation.phase = phase;
                ReportKind::InstanceStatus(container.observation.clone())
            }
            _ if spec.container_id.is_some() => agent_failed("container_gone"),
            _ if behavior == Behavior::Refuses => agent_refused("image_missing"),
            _ => {
                self.created += 1;
                let container_id = format!("created-{}", self.created).parse().unwrap();
                let observation = Observation { container_id, ..observation(phase) };
                let container = Container { placement: assignment.placement, observation: observation.clone() };
                self.containers.insert(key, container);
                ReportKind::InstanceCreated(observation)
            }
        }
    }

    /// Each agent that is not silent handles each instance once. Returns the number of events.
    fn round(&mut self, simulation: &mut Simulation, behaviors: [Behavior; 3]) -> usize {
        let mut events = 0;
        let active = BACKENDS.into_iter().zip(behaviors).filter(|(_, behavior)| *behavior != Behavior::Silent);
        for (backend, behavior) in active {
            let with_containers = self.containers.keys().map(|(_, id)| *id);
            let instances: BTreeSet<_> = simulation.instances().chain(with_containers).collect();
            for instance_id in instances {
                let instance = simulation.tenancy.instance(instance_id);
                let assignment =
                    instance.and_then(|instance| desired_assignments(user(1), instance_id, instance).remove(&backend));
                let report = |placement, generation, kind| {
                    let user_id = user(1);
                    Report { instance_id, user_id, placement, generation, kind }
                };
                let result = match assignment {
                    Some(assignment) => {
                        let kind = self.reconcile(backend, &assignment, behavior);
                        simulation.report(backend, report(assignment.placement, assignment.generation, kind))
                    }
                    // A container without an assignment.
                    None => match self.containers.get(&(backend, instance_id)) {
                        None => continue,
                        Some(container) => {
                            let kind = ReportKind::InstanceStatus(container.observation.clone());
                            simulation.report(backend, report(container.placement, 1, kind))
                        }
                    },
                };
                match result {
                    Ok(event) => events += usize::from(event.is_some()),
                    // The server tells the agent to remove the orphaned container.
                    Err(_) => drop(self.containers.remove(&(backend, instance_id))),
                }
            }
        }
        events
    }
}

fn pending(simulation: &Simulation) -> Vec<InstanceId> {
    simulation.tenancy.all().filter(|(_, instance)| instance.deadline().is_some()).map(|(id, _)| id).collect()
}

/// Lets every current deadline pass.
fn pass_deadlines(simulation: &mut Simulation) {
    for instance_id in pending(simulation) {
        let Some(instance) = simulation.tenancy.instance(instance_id).cloned() else { continue };
        let Some(now) = instance.deadline() else { continue };
        let facts = Facts { now, ..facts(0) };
        simulation.decide(&HandleDeadline { instance_id, generation: instance.generation, facts }).unwrap();
    }
}

/// Agents with any containers.
fn any_agents() -> impl Strategy<Value = Agents> {
    let on = (0_usize..3, 1_u128..5).prop_map(|(backend, n)| (BACKENDS[backend], instance(n)));
    let container = (1_u32..4, any::<bool>(), 0..3).prop_map(|(placement, runs, n)| {
        let phase = if runs { Phase::Running } else { Phase::Stopped };
        let observation = Observation { container_id: format!("c{n}").parse().unwrap(), ..observation(phase) };
        Container { placement, observation }
    });
    prop::collection::btree_map(on, container, 0..8).prop_map(|containers| Agents { containers, created: 0 })
}

fn behaviors(among: [Behavior; 3]) -> impl Strategy<Value = [Behavior; 3]> {
    [0_usize..3, 0..3, 0..3].prop_map(move |indices| indices.map(|n| among[n]))
}

/// Checks that the containers match the tenancy, except on silent backends.
fn check_containers(simulation: &Simulation, agents: &Agents, behaviors: [Behavior; 3]) -> Result<(), TestCaseError> {
    let is_active = |backend: BackendId| {
        BACKENDS.into_iter().zip(behaviors).any(|(b, behavior)| b == backend && behavior != Behavior::Silent)
    };
    for ((backend, id), container) in agents.containers.iter().filter(|((backend, _), _)| is_active(*backend)) {
        let current = simulation.tenancy.instance(*id).and_then(|instance| instance.current_placement.as_ref());
        prop_assert!(
            current.is_some_and(|current| current.backend_id == *backend),
            "{:?} on {} is orphaned",
            container,
            backend
        );
    }
    for (id, instance) in simulation.tenancy.all() {
        prop_assert!(
            instance.pending_removals.keys().all(|backend| !is_active(*backend)),
            "pending removal: {:?}",
            instance
        );
        let Some(current) = instance.current_placement.as_ref().filter(|current| is_active(current.backend_id)) else {
            continue;
        };
        if instance.progress == Progress::Stable {
            let container = agents.containers.get(&(current.backend_id, id));
            let last = current.last_observation.as_ref().map(|last| &last.observation);
            let observed = container.map(|container| RecordedObservation::from(&container.observation));
            prop_assert_eq!(observed.as_ref(), last);
            prop_assert_eq!(container.map(|container| container.placement), Some(instance.placement));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(many_cases())]

    /// Three rounds for three backends, and one to confirm the removals.
    #[test]
    fn agents_that_report_end_every_pending_state_without_deadlines(
        steps in any_steps(),
        mut agents in any_agents(),
        behaviors in behaviors([Behavior::Obeys, Behavior::Obeys, Behavior::Refuses]),
    ) {
        let mut simulation = Simulation::run(&steps, |_, _| Ok(()))?;
        for _ in 0..4 {
            agents.round(&mut simulation, behaviors);
            prop_assert_eq!(check_invariants(&simulation.tenancy), Ok(()));
        }
        prop_assert_eq!(pending(&simulation), vec![]);
        prop_assert_eq!(agents.round(&mut simulation, behaviors), 0, "a further round changes nothing");
        check_containers(&simulation, &agents, behaviors)?;
    }

    #[test]
    fn agents_that_are_silent_leave_the_end_to_the_deadlines(
        steps in any_steps(),
        mut agents in any_agents(),
        behaviors in behaviors([Behavior::Obeys, Behavior::Refuses, Behavior::Silent]),
    ) {
        let mut simulation = Simulation::run(&steps, |_, _| Ok(()))?;
        for _ in 0..4 {
            agents.round(&mut simulation, behaviors);
            pass_deadlines(&mut simulation);
            prop_assert_eq!(check_invariants(&simulation.tenancy), Ok(()));
        }
        prop_assert_eq!(pending(&simulation), vec![]);
        agents.round(&mut simulation, behaviors);
        prop_assert_eq!(agents.round(&mut simulation, behaviors), 0, "a further round changes nothing");
        check_containers(&simulation, &agents, behaviors)?;
    }
}
