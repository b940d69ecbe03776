use dockhost_domain::wire::{ContainerSpec, Limits};
use uuid::Uuid;

use super::*;

fn item() -> WorkItem {
    let id = Uuid::from_u128;
    WorkItem { user_id: UserId::from_uuid(id(1)), instance_id: InstanceId::from_uuid(id(2)), backends: BTreeMap::new() }
}

fn assignment(placement: u32, generation: u32, wanted: Wanted) -> Assignment {
    let WorkItem { user_id, instance_id, .. } = item();
    let container = (wanted != Wanted::Deleted).then(|| ContainerSpec {
        image: None,
        hostname: "box".to_owned(),
        ssh_public_key: "key".to_owned(),
        limits: Limits { memory_mib: 1, cpu_millis: 1, pids: 1 },
        container_id: None,
    });
    Assignment { instance_id, user_id, placement, generation, wanted, container }
}

fn running(placement: u32, generation: u32) -> Assignment {
    assignment(placement, generation, Wanted::Running)
}

fn gone(placement: u32, generation: u32) -> Assignment {
    assignment(placement, generation, Wanted::Deleted)
}

#[test]
fn each_case_has_its_deed() {
    let leftover = |placement| Trigger::Leftover { placement };
    for (case, standing, wanted, trigger, expected) in [
        ("nothing stands, one is wanted", None, Some(running(1, 1)), Trigger::Changed, Action::Put(running(1, 1))),
        ("it stands as wanted", Some(running(1, 1)), Some(running(1, 1)), Trigger::Changed, Action::Nothing),
        ("another is wanted", Some(running(1, 1)), Some(running(1, 2)), Trigger::Changed, Action::Put(running(1, 2))),
        (
            "what is wanted is not taken away",
            Some(running(1, 1)),
            Some(running(1, 1)),
            Trigger::Confirmed,
            Action::Nothing,
        ),
        ("nor by a leftover", Some(running(2, 1)), Some(running(2, 1)), leftover(1), Action::Nothing),
        ("none is wanted and it is confirmed", Some(gone(1, 2)), None, Trigger::Confirmed, Action::Remove),
        ("none is wanted any more", Some(running(1, 2)), None, Trigger::Changed, Action::Put(gone(1, 2))),
        ("a deletion stands until it is confirmed", Some(gone(1, 2)), None, Trigger::Changed, Action::Nothing),
        ("a deletion covers its own and older leftovers", Some(gone(2, 2)), None, leftover(2), Action::Nothing),
        ("a newer leftover needs another", Some(gone(1, 2)), None, leftover(2), Action::Put(gone(2, 0))),
        ("a leftover that nothing stands for", None, None, leftover(3), Action::Put(gone(3, 0))),
        ("nothing stands and nothing is wanted", None, None, Trigger::Changed, Action::Nothing),
        ("nothing is there to be removed", None, None, Trigger::Confirmed, Action::Nothing),
    ] {
        let sequence = if standing.is_some() { 7 } else { 0 };
        assert_eq!(
            plan(&CurrentAssignment { sequence, assignment: standing }, wanted.as_ref(), trigger, &item()),
            expected,
            "{case}"
        );
    }
}

/// What can't be read is replaced when something is wanted there.
#[test]
fn an_unreadable_assignment_is_replaced() {
    let unreadable = CurrentAssignment { sequence: 7, assignment: None };
    assert_eq!(plan(&unreadable, Some(&running(1, 1)), Trigger::Changed, &item()), Action::Put(running(1, 1)));
}
