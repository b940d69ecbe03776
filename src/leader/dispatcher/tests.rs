use dockhost_domain::wire::{ContainerSpec, Limits, RestartPolicy};
use uuid::Uuid;

use super::*;

fn item() -> WorkItem {
    let id = Uuid::from_u128;
    WorkItem { user_id: UserId::from_uuid(id(1)), instance_id: InstanceId::from_uuid(id(2)), backends: BTreeMap::new() }
}

fn assignment(placement: u32, generation: u32, desired: DesiredState) -> Assignment {
    let WorkItem { user_id, instance_id, .. } = item();
    let container = (desired != DesiredState::Deleted).then(|| ContainerSpec {
        image: None,
        hostname: "box".to_owned(),
        ssh_public_key: "key".to_owned(),
        authorized_keys: None,
        limits: Limits { memory_mib: 1, cpu_millis: 1, pids: 1 },
        container_id: None,
        restart: RestartPolicy::default(),
        has_run: false,
    });
    Assignment { instance_id, user_id, placement, generation, desired, container }
}

fn running(placement: u32, generation: u32) -> Assignment {
    assignment(placement, generation, DesiredState::Running)
}

fn deleted(placement: u32, generation: u32) -> Assignment {
    assignment(placement, generation, DesiredState::Deleted)
}

#[test]
fn plan_each_case_gives_its_action() {
    let leftover = |placement| Trigger::OrphanedContainer { placement };
    for (case, current, desired, trigger, expected) in [
        ("no assignment, one desired", None, Some(running(1, 1)), Trigger::Changed, Action::Put(running(1, 1))),
        ("current equals desired", Some(running(1, 1)), Some(running(1, 1)), Trigger::Changed, Action::Nothing),
        (
            "current differs from desired",
            Some(running(1, 1)),
            Some(running(1, 2)),
            Trigger::Changed,
            Action::Put(running(1, 2)),
        ),
        (
            "a desired assignment is not removed",
            Some(running(1, 1)),
            Some(running(1, 1)),
            Trigger::Removed,
            Action::Nothing,
        ),
        (
            "a leftover does not replace a desired assignment",
            Some(running(2, 1)),
            Some(running(2, 1)),
            leftover(1),
            Action::Nothing,
        ),
        ("a confirmed deletion is removed", Some(deleted(1, 2)), None, Trigger::Removed, Action::Remove),
        ("no longer desired", Some(running(1, 2)), None, Trigger::Changed, Action::Put(deleted(1, 2))),
        ("a deletion stays until it is confirmed", Some(deleted(1, 2)), None, Trigger::Changed, Action::Nothing),
        ("a deletion covers leftovers up to its placement", Some(deleted(2, 2)), None, leftover(2), Action::Nothing),
        ("a newer leftover needs a new deletion", Some(deleted(1, 2)), None, leftover(2), Action::Put(deleted(2, 0))),
        ("a leftover without an assignment", None, None, leftover(3), Action::Put(deleted(3, 0))),
        ("no assignment, none desired", None, None, Trigger::Changed, Action::Nothing),
        ("no assignment to remove", None, None, Trigger::Removed, Action::Nothing),
    ] {
        let sequence = if current.is_some() { 7 } else { 0 };
        assert_eq!(
            plan(&CurrentAssignment { sequence, assignment: current }, desired.as_ref(), trigger, &item()),
            expected,
            "{case}"
        );
    }
}

#[test]
fn plan_unreadable_assignment_is_replaced() {
    let unreadable = CurrentAssignment { sequence: 7, assignment: None };
    assert_eq!(plan(&unreadable, Some(&running(1, 1)), Trigger::Changed, &item()), Action::Put(running(1, 1)));
}
