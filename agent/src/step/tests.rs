//! Steps by example, and a property test: every sequence of assignments, crashes and failures converges with at most one
//! running container.

use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::reported::{ContainerId, HostKeys};
use dockhost_domain::wire::{AuthorizedKeys, ContainerSpec, Limits, Ports, RestartPolicy};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const INSTANCE: InstanceId = InstanceId::from_uuid(Uuid::from_u128(1));
const USER: UserId = UserId::from_uuid(Uuid::from_u128(2));

fn assignment(placement: u32, desired: DesiredState) -> Assignment {
    Assignment {
        instance_id: INSTANCE,
        user_id: USER,
        placement,
        generation: 1,
        desired,
        container: (desired != DesiredState::Deleted).then(|| ContainerSpec {
            image: None,
            hostname: "box".to_owned(),
            ssh_public_key: "ssh-ed25519 AAAA".to_owned(),
            authorized_keys: None,
            limits: Limits { memory_mib: 512, cpu_millis: 500, pids: 100 },
            container_id: None,
            restart: RestartPolicy::default(),
            has_run: false,
        }),
    }
}

fn id(text: &str) -> ContainerId {
    text.parse().unwrap()
}

fn expecting(mut assignment: Assignment, id: &str) -> Assignment {
    if let Some(spec) = &mut assignment.container {
        spec.container_id = Some(id.to_owned());
    }
    assignment
}

fn container(placement: u32, state: ContainerState) -> Container {
    Container {
        id: format!("c{placement}").parse().unwrap(),
        former_ids: vec![],
        instance: INSTANCE,
        user: USER,
        placement,
        ports: Ports { ssh: 20000, http: 20001, https: 20002 },
        state,
        host_keys: HostKeys::default(),
        limits: None,
        keys_version: None,
    }
}

#[test]
fn step_with_changed_keys_replaces_them_before_anything_else_and_once() {
    let mut assigned = assignment(1, DesiredState::Running);
    let set = |assigned: &mut Assignment, version| {
        assigned.container.as_mut().unwrap().authorized_keys = Some(AuthorizedKeys { version, keys: vec![] });
    };
    let step = |assigned: &Assignment, state, keys_version| {
        next_step(assigned, &[Container { keys_version, ..container(1, state) }], CapacityStatus::Available)
    };
    // The keys that the container was created with.
    set(&mut assigned, 0);
    assert!(matches!(step(&assigned, ContainerState::Running, None), Step::Report(_)));
    set(&mut assigned, 2);
    for state in [ContainerState::Stopped, ContainerState::Starting, ContainerState::Running] {
        for version in [None, Some(1)] {
            assert_eq!(step(&assigned, state, version), Step::Authorize(id("c1")), "{state:?} {version:?}");
        }
    }
    assert!(matches!(step(&assigned, ContainerState::Running, Some(2)), Step::Report(_)));
    assert_eq!(step(&assigned, ContainerState::Stopped, Some(2)), Step::Start(id("c1")));
    // It gets them with its first start.
    assert_eq!(step(&assigned, ContainerState::Created, None), Step::Start(id("c1")));
    assigned.desired = DesiredState::Stopped;
    assert_eq!(step(&assigned, ContainerState::Running, None), Step::Stop(id("c1")));
}

fn is_container_gone(step: &Step) -> bool {
    matches!(step, Step::ReportGone(error) if error.code.as_str() == "container_gone")
}

#[test]
fn next_step_running_creates_starts_awaits_ssh_and_reports() {
    let assigned = assignment(1, DesiredState::Running);
    assert_eq!(next_step(&assigned, &[], CapacityStatus::Available), Step::Create);
    assert_eq!(
        next_step(&assigned, &[container(1, ContainerState::Created)], CapacityStatus::Available),
        Step::Start(id("c1"))
    );
    assert_eq!(
        next_step(&assigned, &[container(1, ContainerState::Starting)], CapacityStatus::Available),
        Step::AwaitSsh(id("c1"))
    );
    let running = container(1, ContainerState::Running);
    let report = Step::Report(ReportKind::InstanceStatus(running.observation()));
    assert_eq!(next_step(&assigned, &[running], CapacityStatus::Available), report);
}

#[test]
fn next_step_at_the_limit_refuses_only_a_new_container() {
    let full = CapacityStatus::Full { max: 3 };
    let assigned = assignment(1, DesiredState::Running);
    let Step::Report(ReportKind::InstanceRefused(error)) = next_step(&assigned, &[], full) else {
        panic!("not refused")
    };
    assert_eq!((error.code.as_str(), error.message.as_str()), ("no_capacity", "the limit of 3 containers is reached"));
    assert_eq!(next_step(&assigned, &[container(1, ContainerState::Stopped)], full), Step::Start(id("c1")));
    assert_eq!(next_step(&assignment(1, DesiredState::Deleted), &[], full), Step::Report(ReportKind::InstanceDeleted));
}

#[test]
fn next_step_stopped_creates_a_missing_container_without_starting_it() {
    let assigned = assignment(1, DesiredState::Stopped);
    assert_eq!(next_step(&assigned, &[], CapacityStatus::Available), Step::Create);
    let created = container(1, ContainerState::Created);
    let report = Step::Report(ReportKind::InstanceStatus(created.observation()));
    assert_eq!(next_step(&assigned, &[created], CapacityStatus::Available), report);
    assert_eq!(
        next_step(&assigned, &[container(1, ContainerState::Starting)], CapacityStatus::Available),
        Step::Stop(id("c1"))
    );
    assert_eq!(
        next_step(&assigned, &[container(1, ContainerState::Running)], CapacityStatus::Available),
        Step::Stop(id("c1"))
    );
}

#[test]
fn next_step_missing_known_container_fails_instead_of_creating_one() {
    for desired in [DesiredState::Running, DesiredState::Stopped] {
        let assigned = expecting(assignment(1, desired), "c0");
        assert!(is_container_gone(&next_step(&assigned, &[], CapacityStatus::Available)));
        assert!(is_container_gone(&next_step(
            &assigned,
            &[container(1, ContainerState::Running)],
            CapacityStatus::Available
        )));
    }
}

#[test]
fn next_step_recreated_container_matches_its_former_id() {
    let mut moved = container(1, ContainerState::Stopped);
    moved.former_ids = vec!["c0".to_owned()];
    assert_eq!(
        next_step(&expecting(assignment(1, DesiredState::Running), "c0"), &[moved], CapacityStatus::Available),
        Step::Start(id("c1"))
    );
}

#[test]
fn next_step_removes_lower_placements_and_never_a_higher_one() {
    let (old, new) = (container(1, ContainerState::Running), container(2, ContainerState::Created));
    let both = [new.clone(), old];
    assert_eq!(
        next_step(&assignment(2, DesiredState::Running), &both, CapacityStatus::Available),
        Step::Remove(id("c1"))
    );
    assert_eq!(next_step(&assignment(1, DesiredState::Running), &both, CapacityStatus::Available), Step::Ignore);
    assert_eq!(
        next_step(&assignment(1, DesiredState::Deleted), &both, CapacityStatus::Available),
        Step::Remove(id("c1"))
    );
    assert_eq!(
        next_step(&assignment(1, DesiredState::Deleted), &[new], CapacityStatus::Available),
        Step::Report(ReportKind::InstanceDeleted)
    );
}

#[test]
fn next_step_without_a_container_spec_fails() {
    let mut assigned = assignment(1, DesiredState::Running);
    assigned.container = None;
    assert!(matches!(
        next_step(&assigned, &[], CapacityStatus::Available),
        Step::Report(ReportKind::InstanceFailed(_))
    ));
}

/// An event of the model's history.
#[derive(Debug, Clone)]
enum ModelEvent {
    /// The server sends an assignment (or an older one arrives late).
    Assign { placement: u32, desired: DesiredState, expected: ExpectedId, keys: u32 },
    /// The agent decides and executes the next step.
    Step,
    /// The agent decides the next step and crashes before it executes it.
    Crash,
    /// The container stops unexpectedly.
    Stop,
    /// The container is removed by something other than the agent.
    Vanish,
    /// The limit is reached, or no longer.
    SetCapacity(bool),
}

#[derive(Debug, Clone, Copy)]
enum ExpectedId {
    None,
    Matching,
    Other,
}

fn model_events() -> impl Strategy<Value = ModelEvent> {
    let desired = prop_oneof![3 => Just(DesiredState::Running), 2 => Just(DesiredState::Stopped), 1 => Just(DesiredState::Deleted)];
    let expected =
        prop_oneof![4 => Just(ExpectedId::None), 2 => Just(ExpectedId::Matching), 1 => Just(ExpectedId::Other)];
    prop_oneof![
        3 => (1..4u32, desired, expected, 0..3u32)
            .prop_map(|(placement, desired, expected, keys)| ModelEvent::Assign { placement, desired, expected, keys }),
        8 => Just(ModelEvent::Step),
        1 => Just(ModelEvent::Crash),
        1 => Just(ModelEvent::Stop),
        1 => Just(ModelEvent::Vanish),
        1 => any::<bool>().prop_map(ModelEvent::SetCapacity),
    ]
}

#[derive(Debug, Default)]
struct Model {
    containers: Vec<Container>,
    created: usize,
}

impl Model {
    /// Executes one step as a runtime would, and checks that the step was allowed.
    fn execute(&mut self, step: &Step, assignment: &Assignment) -> Result<(), TestCaseError> {
        match step {
            Step::Ignore | Step::Report(_) | Step::ReportGone(_) => {}
            Step::Remove(id) => {
                let victim = self.containers.iter().find(|container| container.id == *id);
                let victim = victim.ok_or_else(|| TestCaseError::fail("removes a container that does not exist"))?;
                prop_assert!(
                    victim.placement < assignment.placement
                        || (assignment.desired == DesiredState::Deleted && victim.placement == assignment.placement),
                    "removed placement {} for {assignment:?}",
                    victim.placement
                );
                self.containers.retain(|container| container.id != *id);
            }
            Step::Create => {
                prop_assert!(self.containers.is_empty(), "created a second container");
                prop_assert_eq!(
                    expected_container_id(assignment),
                    None,
                    "created an empty container in place of lost files"
                );
                prop_assert_ne!(assignment.desired, DesiredState::Deleted);
                self.created += 1;
                let mut created = container(assignment.placement, ContainerState::Created);
                created.id = format!("m{}", self.created).parse().unwrap();
                self.containers.push(created);
            }
            Step::Start(id) => self.change(id, ContainerState::Starting)?,
            Step::Authorize(id) => {
                let container = self.containers.iter_mut().find(|container| container.id == *id);
                let container = container.ok_or_else(|| TestCaseError::fail("changes the keys of no container"))?;
                let wanted = assignment.container.as_ref().map_or(0, |spec| spec.keys().0);
                prop_assert!(container.keys_version.is_none_or(|version| version < wanted), "brings older keys back");
                container.keys_version = Some(wanted);
            }
            Step::AwaitSsh(id) => self.change(id, ContainerState::Running)?,
            Step::Stop(id) => self.change(id, ContainerState::Stopped)?,
        }
        prop_assert!(self.containers.iter().filter(|container| container.state.is_alive()).count() <= 1);
        Ok(())
    }

    fn change(&mut self, id: &ContainerId, state: ContainerState) -> Result<(), TestCaseError> {
        let container = self.containers.iter_mut().find(|container| container.id == *id);
        container.ok_or_else(|| TestCaseError::fail("changes a container that does not exist"))?.state = state;
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn next_step_every_history_converges_with_at_most_one_running_container(
        history in prop::collection::vec(model_events(), 1..24)
    ) {
        let mut model = Model::default();
        let mut assigned = assignment(1, DesiredState::Running);
        let mut capacity = CapacityStatus::Available;
        for event in history {
            match event {
                ModelEvent::Assign { placement, desired, expected, keys } => {
                    assigned = assignment(placement, desired);
                    if let Some(spec) = &mut assigned.container {
                        spec.authorized_keys = Some(AuthorizedKeys { version: keys, keys: vec![] });
                    }
                    match (expected, model.containers.first()) {
                        (ExpectedId::Matching, Some(container)) => assigned = expecting(assigned, &container.id.clone()),
                        (ExpectedId::Other, _) => assigned = expecting(assigned, "another"),
                        _ => {}
                    }
                }
                ModelEvent::Step => model.execute(&next_step(&assigned, &model.containers, capacity), &assigned)?,
                ModelEvent::Crash => {
                    let _ = next_step(&assigned, &model.containers, capacity);
                }
                ModelEvent::Stop => model.containers.iter_mut().for_each(|container| {
                    if container.state.is_alive() {
                        container.state = ContainerState::Stopped;
                    }
                }),
                ModelEvent::Vanish => model.containers.clear(),
                ModelEvent::SetCapacity(free) => capacity = if free { CapacityStatus::Available } else { CapacityStatus::Full { max: 1 } },
            }
        }
        let last = (0..8).find_map(|_| match next_step(&assigned, &model.containers, capacity) {
            last @ (Step::Ignore | Step::Report(_) | Step::ReportGone(_)) => Some(Ok(last)),
            next => model.execute(&next, &assigned).err().map(Err),
        });
        let last = last.ok_or_else(|| TestCaseError::fail("not converged after 8 steps"))??;
        match last {
            Step::Ignore => prop_assert!(model.containers.iter().any(|container| container.placement > assigned.placement)),
            Step::Report(ReportKind::InstanceStatus(observation)) => {
                prop_assert_eq!(model.containers.len(), 1);
                prop_assert_eq!(&observation, &model.containers[0].observation());
                prop_assert_eq!(model.containers[0].placement, assigned.placement);
                prop_assert_eq!(model.containers[0].state.is_alive(), assigned.desired == DesiredState::Running);
            }
            Step::Report(ReportKind::InstanceDeleted) => {
                prop_assert_eq!(assigned.desired, DesiredState::Deleted);
                prop_assert!(model.containers.iter().all(|container| container.placement > assigned.placement));
            }
            Step::Report(ReportKind::InstanceRefused(_)) => prop_assert_ne!(capacity, CapacityStatus::Available),
            Step::ReportGone(_) => prop_assert!(expected_container_id(&assigned).is_some()),
            other => prop_assert!(false, "converged to {other:?}"),
        }
    }
}
