use std::sync::Arc;

use dockhost_domain::aggregate::Meta;
use dockhost_domain::backend::{BackendEvent, Connected, Enrolled, Lost};
use dockhost_domain::envelope::{Actor, Envelope, Origin};
use dockhost_domain::ids::{EventId, UserId};
use dockhost_domain::placement::Choice;
use dockhost_domain::tenancy::event::{Deleted, Failed, Placed, Reason, Released, Requested, Setback};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::Limits;
use uuid::Uuid;

use super::*;

const fn backend(n: u128) -> BackendId {
    BackendId::from_uuid(Uuid::from_u128(n))
}

const fn instance(n: u128) -> InstanceId {
    InstanceId::from_uuid(Uuid::from_u128(n))
}

fn recorded(aggregate: AggregateId, event: impl Into<Event>) -> Recorded {
    let meta = Meta { id: EventId::from_uuid(Uuid::nil()), time: Timestamp::from_millis(0) };
    let origin = Origin { actor: Actor::System, cause: "test".to_owned(), trace_parent: None };
    Recorded { sequence: 1, envelope: Envelope { aggregate, meta, origin, event: event.into() } }
}

/// Machines that are connected and take two containers each.
fn fleet(count: u128) -> Fleet {
    let fleet = Fleet::default();
    for n in 1..=count {
        let enrolled = Enrolled {
            username: "lab".parse::<dockhost_domain::names::Username>().unwrap().into(),
            password_verifier: "verifier".to_owned().into(),
            lab_name: None,
            operating_system: None,
            max_containers: 2,
            key_version: 1,
        };
        let connected = Connected {
            address: "127.0.0.1".to_owned().into(),
            runtime: "simulated".to_owned(),
            agent_version: "0".to_owned(),
        };
        for event in [BackendEvent::Enrolled(enrolled), BackendEvent::Connected(connected)] {
            fleet.observe(&recorded(AggregateId::Backend(backend(n)), event));
        }
    }
    fleet
}

impl Fleet {
    fn happens(&self, event: TenancyEvent) {
        self.observe(&recorded(AggregateId::Tenancy(UserId::from_uuid(Uuid::nil())), event));
    }

    /// What each holds, the first machine first.
    fn used(&self) -> Vec<u32> {
        self.candidates().iter().map(|candidate| candidate.used).collect()
    }
}

fn choice(on: u128) -> Choice {
    Choice { backend_id: backend(on), used: 0, max_containers: 2, among: 1 }
}

fn setback(on: u128) -> Setback {
    Setback { backend_id: backend(on), reason: Reason::Late }
}

fn requested(n: u128, on: u128) -> TenancyEvent {
    TenancyEvent::Requested(Requested {
        instance_id: instance(n),
        name: "box".parse::<dockhost_domain::names::InstanceName>().unwrap().into(),
        ssh_public_key: "key".to_owned().into(),
        image: None,
        limits: Limits { memory_mib: 1, cpu_millis: 1, pids: 1 },
        choice: choice(on),
        deadline: Timestamp::from_millis(1),
        idempotency: None,
    })
}

fn deleted(n: u128, end: End) -> TenancyEvent {
    TenancyEvent::Deleted(Deleted { instance_id: instance(n), generation: 2, end })
}

fn released(n: u128, on: u128) -> TenancyEvent {
    TenancyEvent::Released(Released { instance_id: instance(n), backend_id: backend(on), placement: 1 })
}

#[test]
fn a_placement_takes_room_until_its_machine_says_that_nothing_is_left() {
    let fleet = fleet(2);
    fleet.happens(requested(1, 1));
    fleet.happens(requested(2, 1));
    assert_eq!(fleet.used(), [2, 0]);
    let placed = Placed {
        instance_id: instance(2),
        placement: 2,
        choice: choice(2),
        deadline: Timestamp::from_millis(1),
        after: setback(1),
    };
    fleet.happens(TenancyEvent::Placed(placed));
    assert_eq!(fleet.used(), [2, 1], "the first may have made it all the same");
    fleet.happens(released(2, 1));
    assert_eq!(fleet.used(), [1, 1]);
    fleet.happens(deleted(1, End::Abandoned { backend_id: backend(1) }));
    assert_eq!(fleet.used(), [1, 1], "a machine that did not answer may still hold it");
    fleet.happens(released(1, 1));
    fleet.happens(deleted(2, End::Confirmed { backend_id: backend(2) }));
    assert_eq!(fleet.used(), [0, 0]);
}

#[test]
fn what_failed_takes_room_until_it_is_released() {
    let fleet = fleet(1);
    fleet.happens(requested(1, 1));
    let failed = Failed { instance_id: instance(1), generation: 1, setback: setback(1), gives_up: true, report: None };
    fleet.happens(TenancyEvent::Failed(failed));
    fleet.happens(deleted(1, End::Unplaced));
    assert_eq!(fleet.used(), [1]);
    fleet.happens(released(1, 1));
    assert_eq!(fleet.used(), [0]);
}

#[test]
fn a_lost_machine_is_no_candidate_and_keeps_what_it_holds() {
    let fleet = fleet(1);
    fleet.happens(requested(1, 1));
    let lost = BackendEvent::Lost(Lost { silent_for_seconds: 15 });
    fleet.observe(&recorded(AggregateId::Backend(backend(1)), lost));
    let candidate = fleet.candidates()[0];
    assert_eq!((candidate.connected, candidate.used), (false, 1));
    assert_eq!(fleet.count(), (1, 0));
}

#[test]
fn of_requests_side_by_side_none_is_promised_the_same_room() {
    let fleet = fleet(1);
    let first = fleet.reserve(instance(1), 0);
    let second = fleet.reserve(instance(2), 0);
    let third = fleet.reserve(instance(3), 0);
    let offered = [&first, &second, &third].map(|reservation| place(&reservation.candidates, &[], 0).is_ok());
    assert_eq!(offered, [true, true, false]);
    drop(second);
    assert_eq!(fleet.used(), [1], "what came to nothing is given back");
    drop(third);
    assert_eq!(fleet.used(), [1], "what had no room has none to give back");
    first.commit();
    assert_eq!(fleet.used(), [1], "what was stored is held until its event is seen");
    fleet.happens(requested(1, 1));
    assert_eq!(fleet.used(), [1], "and once after that");
}

/// Its caller went away, or its answer got lost, and it was stored all the same.
#[test]
fn a_request_that_ends_in_doubt_takes_nothing_back_that_its_event_has_given() {
    let fleet = fleet(1);
    let reservation = fleet.reserve(instance(1), 0);
    fleet.happens(requested(1, 1));
    drop(reservation);
    assert_eq!(fleet.used(), [1]);

    let reservation = fleet.reserve(instance(2), 0);
    fleet.happens(requested(2, 1));
    fleet.happens(deleted(2, End::Confirmed { backend_id: backend(1) }));
    reservation.commit();
    assert_eq!(fleet.used(), [1], "what is gone already is not held again");
}

#[test]
fn threads_that_reserve_at_once_share_the_room() {
    let fleet = Arc::new(fleet(3));
    let threads: Vec<_> = (1..=20)
        .map(|n| {
            let fleet = Arc::clone(&fleet);
            std::thread::spawn(move || {
                let reservation = fleet.reserve(instance(n), u64::try_from(n).unwrap());
                let offered = place(&reservation.candidates, &[], u64::try_from(n).unwrap()).is_ok();
                reservation.commit();
                offered
            })
        })
        .collect();
    let offered = threads.into_iter().map(|thread| thread.join().unwrap()).filter(|offered| *offered);
    assert_eq!(offered.count(), 6);
    assert_eq!(fleet.used(), [2, 2, 2]);
}
