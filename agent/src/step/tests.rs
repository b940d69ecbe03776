//! Given what exists, when this is assigned, then that is the step; and a model runtime that every sequence of
//! assignments, crashes and accidents must lead to rest, with one container alive at most.

use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::wire::{ContainerSpec, Limits, Ports};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const INSTANCE: InstanceId = InstanceId::from_uuid(Uuid::from_u128(1));
const USER: UserId = UserId::from_uuid(Uuid::from_u128(2));

fn assignment(placement: u32, wanted: DesiredState) -> Assignment {
    Assignment {
        instance_id: INSTANCE,
        user_id: USER,
        placement,
        generation: 1,
        desired: wanted,
        container: (wanted != DesiredState::Deleted).then(|| ContainerSpec {
            image: None,
            hostname: "box".to_owned(),
            ssh_public_key: "ssh-ed25519 AAAA".to_owned(),
            limits: Limits { memory_mib: 512, cpu_millis: 500, pids: 100 },
            container_id: None,
        }),
    }
}

fn knowing(mut assignment: Assignment, id: &str) -> Assignment {
    if let Some(spec) = &mut assignment.container {
        spec.container_id = Some(id.to_owned());
    }
    assignment
}

fn container(placement: u32, state: ContainerState) -> Container {
    Container {
        id: format!("c{placement}"),
        former_ids: vec![],
        instance: INSTANCE,
        user: USER,
        placement,
        ports: Ports { ssh: 20000, http: 20001, https: 20002 },
        state,
        host_keys: vec![],
    }
}

fn failed_gone(step: &Step) -> bool {
    matches!(step, Step::Report(ReportKind::InstanceFailed(trouble)) if trouble.code == "container_gone")
}

#[test]
fn a_new_instance_is_made_started_awaited_and_reported() {
    let wanted = assignment(1, DesiredState::Running);
    assert_eq!(next_step(&wanted, &[], CapacityStatus::Available), Step::Create);
    assert_eq!(
        next_step(&wanted, &[container(1, ContainerState::Created)], CapacityStatus::Available),
        Step::Start("c1".to_owned())
    );
    assert_eq!(
        next_step(&wanted, &[container(1, ContainerState::Starting)], CapacityStatus::Available),
        Step::AwaitSsh("c1".to_owned())
    );
    let running = container(1, ContainerState::Running);
    let report = Step::Report(ReportKind::InstanceStatus(running.observation()));
    assert_eq!(next_step(&wanted, &[running], CapacityStatus::Available), report);
}

#[test]
fn only_a_new_container_is_refused_when_full() {
    let full = CapacityStatus::Full { max: 3 };
    let wanted = assignment(1, DesiredState::Running);
    let Step::Report(ReportKind::InstanceRefused(trouble)) = next_step(&wanted, &[], full) else {
        panic!("not refused")
    };
    assert_eq!((trouble.code.as_str(), trouble.message.as_str()), ("no_capacity", "all 3 places are taken"));
    assert_eq!(next_step(&wanted, &[container(1, ContainerState::Stopped)], full), Step::Start("c1".to_owned()));
    assert_eq!(next_step(&assignment(1, DesiredState::Deleted), &[], full), Step::Report(ReportKind::InstanceDeleted));
}

#[test]
fn stopped_without_a_container_makes_one_and_does_not_start_it() {
    let wanted = assignment(1, DesiredState::Stopped);
    assert_eq!(next_step(&wanted, &[], CapacityStatus::Available), Step::Create);
    let made = container(1, ContainerState::Created);
    let report = Step::Report(ReportKind::InstanceStatus(made.observation()));
    assert_eq!(next_step(&wanted, &[made], CapacityStatus::Available), report);
    assert_eq!(
        next_step(&wanted, &[container(1, ContainerState::Starting)], CapacityStatus::Available),
        Step::Stop("c1".to_owned())
    );
    assert_eq!(
        next_step(&wanted, &[container(1, ContainerState::Running)], CapacityStatus::Available),
        Step::Stop("c1".to_owned())
    );
}

#[test]
fn lost_files_are_never_replaced_by_an_empty_container() {
    for wanted in [DesiredState::Running, DesiredState::Stopped] {
        let wanted = knowing(assignment(1, wanted), "c0");
        assert!(failed_gone(&next_step(&wanted, &[], CapacityStatus::Available)));
        assert!(failed_gone(&next_step(&wanted, &[container(1, ContainerState::Running)], CapacityStatus::Available)));
    }
}

#[test]
fn a_container_made_anew_from_its_files_answers_to_its_former_id() {
    let mut moved = container(1, ContainerState::Stopped);
    moved.former_ids = vec!["c0".to_owned()];
    assert_eq!(
        next_step(&knowing(assignment(1, DesiredState::Running), "c0"), &[moved], CapacityStatus::Available),
        Step::Start("c1".to_owned())
    );
}

#[test]
fn a_lower_placement_goes_first_and_a_higher_one_is_left_alone() {
    let (old, new) = (container(1, ContainerState::Running), container(2, ContainerState::Created));
    let both = [new.clone(), old];
    assert_eq!(
        next_step(&assignment(2, DesiredState::Running), &both, CapacityStatus::Available),
        Step::Remove("c1".to_owned())
    );
    assert_eq!(next_step(&assignment(1, DesiredState::Running), &both, CapacityStatus::Available), Step::Ignore);
    assert_eq!(
        next_step(&assignment(1, DesiredState::Deleted), &both, CapacityStatus::Available),
        Step::Remove("c1".to_owned())
    );
    assert_eq!(
        next_step(&assignment(1, DesiredState::Deleted), &[new], CapacityStatus::Available),
        Step::Report(ReportKind::InstanceDeleted)
    );
}

#[test]
fn an_assignment_that_does_not_say_what_to_make_makes_nothing() {
    let mut wanted = assignment(1, DesiredState::Running);
    wanted.container = None;
    assert!(matches!(next_step(&wanted, &[], CapacityStatus::Available), Step::Report(ReportKind::InstanceFailed(_))));
}

/// What happens to the model between two steps.
#[derive(Debug, Clone)]
enum Happening {
    /// The server assigns something (or an older assignment arrives late).
    Assign { placement: u32, wanted: DesiredState, known: Known },
    /// The next step is decided and taken.
    Step,
    /// The next step is decided, and the agent dies before it is taken (or after: then it is a `Step`).
    Crash,
    /// The container stops by itself.
    Die,
    /// Somebody removes the container behind our back.
    Vanish,
    /// The backend fills up, or has capacity again.
    CapacityStatus(bool),
}

#[derive(Debug, Clone, Copy)]
enum Known {
    Nothing,
    TheRightOne,
    AWrongOne,
}

fn happenings() -> impl Strategy<Value = Happening> {
    let wanted = prop_oneof![3 => Just(DesiredState::Running), 2 => Just(DesiredState::Stopped), 1 => Just(DesiredState::Deleted)];
    let known = prop_oneof![4 => Just(Known::Nothing), 2 => Just(Known::TheRightOne), 1 => Just(Known::AWrongOne)];
    prop_oneof![
        3 => (1..4u32, wanted, known)
            .prop_map(|(placement, wanted, known)| Happening::Assign { placement, wanted, known }),
        8 => Just(Happening::Step),
        1 => Just(Happening::Crash),
        1 => Just(Happening::Die),
        1 => Just(Happening::Vanish),
        1 => any::<bool>().prop_map(Happening::CapacityStatus),
    ]
}

#[derive(Debug, Default)]
struct Model {
    containers: Vec<Container>,
    made: usize,
}

impl Model {
    /// Takes one step like a runtime would, and checks that the step was a lawful one.
    fn take(&mut self, step: &Step, assignment: &Assignment) -> Result<(), TestCaseError> {
        match step {
            Step::Ignore | Step::Report(_) => {}
            Step::Remove(id) => {
                let victim = self.containers.iter().find(|container| container.id == *id);
                let victim = victim.ok_or_else(|| TestCaseError::fail("removes what isn't there"))?;
                prop_assert!(
                    victim.placement < assignment.placement
                        || (assignment.desired == DesiredState::Deleted && victim.placement == assignment.placement),
                    "removed placement {} for {assignment:?}",
                    victim.placement
                );
                self.containers.retain(|container| container.id != *id);
            }
            Step::Create => {
                prop_assert!(self.containers.is_empty(), "made a second container");
                prop_assert_eq!(
                    expected_container_id(assignment),
                    None,
                    "made an empty container in place of lost files"
                );
                prop_assert_ne!(assignment.desired, DesiredState::Deleted);
                self.made += 1;
                let mut made = container(assignment.placement, ContainerState::Created);
                made.id = format!("m{}", self.made);
                self.containers.push(made);
            }
            Step::Start(id) => self.change(id, ContainerState::Starting)?,
            Step::AwaitSsh(id) => self.change(id, ContainerState::Running)?,
            Step::Stop(id) => self.change(id, ContainerState::Stopped)?,
        }
        prop_assert!(self.containers.iter().filter(|container| container.state.is_alive()).count() <= 1);
        Ok(())
    }

    fn change(&mut self, id: &str, state: ContainerState) -> Result<(), TestCaseError> {
        let container = self.containers.iter_mut().find(|container| container.id == id);
        container.ok_or_else(|| TestCaseError::fail("changes what isn't there"))?.state = state;
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn every_history_comes_to_rest_as_wanted_with_one_container_alive_at_most(
        history in prop::collection::vec(happenings(), 1..24)
    ) {
        let mut model = Model::default();
        let mut wanted = assignment(1, DesiredState::Running);
        let mut capacity = CapacityStatus::Available;
        for happening in history {
            match happening {
                Happening::Assign { placement, wanted: what, known } => {
                    wanted = assignment(placement, what);
                    match (known, model.containers.first()) {
                        (Known::TheRightOne, Some(container)) => wanted = knowing(wanted, &container.id.clone()),
                        (Known::AWrongOne, _) => wanted = knowing(wanted, "another"),
                        _ => {}
                    }
                }
                Happening::Step => model.take(&next_step(&wanted, &model.containers, capacity), &wanted)?,
                Happening::Crash => {
                    let _ = next_step(&wanted, &model.containers, capacity);
                }
                Happening::Die => model.containers.iter_mut().for_each(|container| {
                    if container.state.is_alive() {
                        container.state = ContainerState::Stopped;
                    }
                }),
                Happening::Vanish => model.containers.clear(),
                Happening::CapacityStatus(free) => capacity = if free { CapacityStatus::Available } else { CapacityStatus::Full { max: 1 } },
            }
        }
        let rest = (0..8).find_map(|_| match next_step(&wanted, &model.containers, capacity) {
            rest @ (Step::Ignore | Step::Report(_)) => Some(Ok(rest)),
            next => model.take(&next, &wanted).err().map(Err),
        });
        let rest = rest.ok_or_else(|| TestCaseError::fail("still busy after 8 steps"))??;
        match rest {
            Step::Ignore => prop_assert!(model.containers.iter().any(|container| container.placement > wanted.placement)),
            Step::Report(ReportKind::InstanceStatus(seen)) => {
                prop_assert_eq!(model.containers.len(), 1);
                prop_assert_eq!(&seen, &model.containers[0].observation());
                prop_assert_eq!(model.containers[0].placement, wanted.placement);
                prop_assert_eq!(model.containers[0].state.is_alive(), wanted.desired == DesiredState::Running);
            }
            Step::Report(ReportKind::InstanceDeleted) => {
                prop_assert_eq!(wanted.desired, DesiredState::Deleted);
                prop_assert!(model.containers.iter().all(|container| container.placement > wanted.placement));
            }
            Step::Report(ReportKind::InstanceRefused(_)) => prop_assert_ne!(capacity, CapacityStatus::Available),
            Step::Report(ReportKind::InstanceFailed(_)) => prop_assert!(expected_container_id(&wanted).is_some()),
            other => prop_assert!(false, "came to rest at {other:?}"),
        }
    }
}
