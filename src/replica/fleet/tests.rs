use std::sync::Arc;

use dockhost_domain::aggregate::Meta;
use dockhost_domain::backend::{BackendEvent, Connected, Enrolled, Lost};
use dockhost_domain::envelope::{Actor, Envelope, Origin};
use dockhost_domain::ids::{EventId, UserId};
use dockhost_domain::placement::Choice;
use dockhost_domain::tenancy::event::{
    Deleted, DeletionOutcome, Failed, FailureReason, Placed, PlacementFailure, Released, Requested, TenancyEvent,
};
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

fn recorded(aggregate: AggregateId, event: impl Into<Event>) -> RecordedEvent {
    let meta = Meta { id: EventId::from_uuid(Uuid::nil()), time: Timestamp::from_millis(0) };
    let origin = Origin { actor: Actor::System, cause: "test".to_owned(), trace_parent: None };
    RecordedEvent { sequence: 1, envelope: Envelope { aggregate, meta, origin, event: event.into() } }
}

/// A fleet of connected backends with room for two containers each.
fn fleet(count: u128) -> Arc<Fleet> {
    let fleet = Arc::new(Fleet::default());
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
    fn apply(&self, event: TenancyEvent) {
        self.observe(&recorded(AggregateId::Tenancy(UserId::from_uuid(Uuid::nil())), event));
    }

    /// The used places of each backend, in order.
    fn used(&self) -> Vec<u32> {
        self.candidates().iter().map(|candidate| candidate.used).collect()
    }
}

fn choice(on: u128) -> Choice {
    Choice { backend_id: backend(on), used: 0, max_containers: 2, eligible: 1 }
}

fn failure_on(on: u128) -> PlacementFailure {
    PlacementFailure { backend_id: backend(on), reason: FailureReason::Late }
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

fn deleted(n: u128, outcome: DeletionOutcome) -> TenancyEvent {
    TenancyEvent::Deleted(Deleted { instance_id: instance(n), generation: 2, outcome })
}

fn released(n: u128, on: u128) -> TenancyEvent {
    TenancyEvent::Released(Released { instance_id: instance(n), backend_id: backend(on), placement: 1 })
}

#[test]
fn fleet_placement_counts_until_the_backend_confirms_removal() {
    let fleet = fleet(2);
    fleet.apply(requested(1, 1));
    fleet.apply(requested(2, 1));
    assert_eq!(fleet.used(), [2, 0]);
    let placed = Placed {
        instance_id: instance(2),
        placement: 2,
        choice: choice(2),
        deadline: Timestamp::from_millis(1),
        failure: failure_on(1),
    };
    fleet.apply(TenancyEvent::Placed(placed));
    assert_eq!(fleet.used(), [2, 1], "the first backend may have created the container");
    fleet.apply(released(2, 1));
    assert_eq!(fleet.used(), [1, 1]);
    fleet.apply(deleted(1, DeletionOutcome::Abandoned { backend_id: backend(1) }));
    assert_eq!(fleet.used(), [1, 1], "a backend that did not answer may still have the container");
    fleet.apply(released(1, 1));
    fleet.apply(deleted(2, DeletionOutcome::Confirmed { backend_id: backend(2) }));
    assert_eq!(fleet.used(), [0, 0]);
}

#[test]
fn fleet_failed_instance_counts_until_released() {
    let fleet = fleet(1);
    fleet.apply(requested(1, 1));
    let failed = Failed {
        instance_id: instance(1),
        generation: 1,
        failure: failure_on(1),
        abandons_placement: true,
        report: None,
    };
    fleet.apply(TenancyEvent::Failed(failed));
    fleet.apply(deleted(1, DeletionOutcome::Unplaced));
    assert_eq!(fleet.used(), [1]);
    fleet.apply(released(1, 1));
    assert_eq!(fleet.used(), [0]);
}

#[test]
fn fleet_lost_backend_is_not_connected_and_keeps_its_placements() {
    let fleet = fleet(1);
    fleet.apply(requested(1, 1));
    let lost = BackendEvent::Lost(Lost { silent_for_seconds: 15 });
    fleet.observe(&recorded(AggregateId::Backend(backend(1)), lost));
    let candidate = fleet.candidates()[0];
    assert_eq!((candidate.connected, candidate.used), (false, 1));
    assert_eq!(fleet.count(), (1, 0));
}

#[test]
fn reservation_parallel_requests_never_share_a_place() {
    let fleet = fleet(1);
    let first = fleet.reserve(instance(1), 0);
    let second = fleet.reserve(instance(2), 0);
    let third = fleet.reserve(instance(3), 0);
    let offered = [&first, &second, &third].map(|reservation| place(&reservation.candidates, &[], 0).is_ok());
    assert_eq!(offered, [true, true, false]);
    drop(second);
    assert_eq!(fleet.used(), [1], "a dropped reservation is freed");
    drop(third);
    assert_eq!(fleet.used(), [1], "a reservation without a place frees none");
    first.commit();
    assert_eq!(fleet.used(), [1], "a committed reservation lasts until its event is applied");
    fleet.apply(requested(1, 1));
    assert_eq!(fleet.used(), [1], "the event replaces the reservation");
}

/// The client disconnected or the reply was lost, but the event was stored.
#[test]
fn reservation_dropped_after_its_event_keeps_the_placement() {
    let fleet = fleet(1);
    let reservation = fleet.reserve(instance(1), 0);
    fleet.apply(requested(1, 1));
    drop(reservation);
    assert_eq!(fleet.used(), [1]);

    let reservation = fleet.reserve(instance(2), 0);
    fleet.apply(requested(2, 1));
    fleet.apply(deleted(2, DeletionOutcome::Confirmed { backend_id: backend(1) }));
    reservation.commit();
    assert_eq!(fleet.used(), [1], "a commit after the removal adds nothing");
}

#[test]
fn reservation_concurrent_threads_stay_within_capacity() {
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
