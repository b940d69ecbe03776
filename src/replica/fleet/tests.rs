use std::sync::Arc;

use dockhost_domain::aggregate::Meta;
use dockhost_domain::backend::{Approved, BackendEvent, CapacitySet, Connected, Cordoned, Enrolled, Lost, Uncordoned};
use dockhost_domain::envelope::{Actor, Envelope, Origin};
use dockhost_domain::ids::{EventId, UserId};
use dockhost_domain::labels::Labels;
use dockhost_domain::placement::{Choice, Demand};
use dockhost_domain::tenancy::event::{
    Deleted, DeletionOutcome, Failed, FailureReason, MoveReason, Moved, Placed, PlacementFailure, Released, Requested,
    TenancyEvent,
};
use dockhost_domain::wire::{EngineState, Heartbeat, Limits, MachineSize, MachineStatus, RestartPolicy};
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
    let origin = Origin::new(Actor::System, "test");
    RecordedEvent { sequence: 1, envelope: Envelope { aggregate, meta, origin, event: event.into() } }
}

fn beat(fleet: &Fleet, n: u128, max_containers: u32, machine: MachineStatus) {
    fleet.heartbeats().record(backend(n), heartbeat(max_containers, machine));
}

fn beat_in_run(fleet: &Fleet, n: u128, agent_run: Option<AgentRunId>) {
    fleet.heartbeats().record(backend(n), Heartbeat { agent_run, ..heartbeat(2, MachineStatus::default()) });
}

fn heartbeat(max_containers: u32, machine: MachineStatus) -> Heartbeat {
    Heartbeat {
        address: "127.0.0.1".parse().unwrap(),
        containers: 0,
        max_containers,
        runtime: "simulated".parse().unwrap(),
        agent_version: "0".parse().unwrap(),
        load: 0.0,
        memory: 0.0,
        at: Timestamp::from_millis(0),
        agent_run: None,
        leaving: false,
        size: None,
        ssh_connections: None,
        machine,
    }
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
            awaits_approval: false,
            token: None,
        };
        let connected = Connected {
            address: "127.0.0.1".to_owned().into(),
            runtime: "simulated".to_owned(),
            agent_version: "0".to_owned(),
        };
        for event in [BackendEvent::Enrolled(enrolled), BackendEvent::Connected(connected)] {
            fleet.observe(&recorded(AggregateId::Backend(backend(n)), event));
        }
        beat(&fleet, n, 2, MachineStatus::default());
    }
    fleet
}

impl Fleet {
    fn apply_to(&self, n: u128, event: BackendEvent) {
        self.observe(&recorded(AggregateId::Backend(backend(n)), event));
    }

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
        further_keys: Vec::new(),
        image: None,
        limits: Limits { memory_mib: 1, cpu_millis: 1, pids: 1 },
        choice: choice(on),
        deadline: Timestamp::from_millis(1),
        idempotency: None,
        restart: RestartPolicy::default(),
        requires: Labels::default(),
        size: None,
        on_lost: dockhost_domain::tenancy::OnLost::Wait,
        lifetime: dockhost_domain::tenancy::Lifetime::default(),
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
    let candidate = &fleet.candidates()[0];
    assert_eq!((&candidate.unavailable, candidate.used), (&Some(Ineligible::NotConnected), 1));
    let health = fleet.health();
    assert_eq!((health.registered, health.connected, health.mass_failure), (1, 0, false));
}

#[test]
fn fleet_lost_backends_are_those_that_are_lost_now_with_the_instances_of_known_owners() {
    let fleet = fleet(2);
    assert!(fleet.lost().is_empty());
    fleet.apply(requested(1, 1));
    fleet.apply(requested(2, 2));
    fleet.add_placement(backend(1), instance(3), None, None);
    fleet.apply_to(1, BackendEvent::Lost(Lost { silent_for_seconds: 15 }));
    let instances = vec![(UserId::from_uuid(Uuid::nil()), instance(1))];
    assert_eq!(fleet.lost(), [LostBackend { id: backend(1), since: Timestamp::from_millis(0), instances }]);
    let connected = Connected {
        address: "127.0.0.1".to_owned().into(),
        runtime: "simulated".to_owned(),
        agent_version: "0".to_owned(),
    };
    fleet.apply_to(1, BackendEvent::Connected(connected));
    assert!(fleet.lost().is_empty());
}

#[test]
fn fleet_cordoned_backend_gets_nothing_new_and_keeps_its_placements() {
    let fleet = fleet(2);
    fleet.apply(requested(1, 1));
    fleet.apply_to(1, BackendEvent::Cordoned(Cordoned {}));
    let unavailable = || fleet.candidates().iter().map(|candidate| candidate.unavailable.clone()).collect::<Vec<_>>();
    assert_eq!(unavailable(), [Some(Ineligible::Cordoned), None]);
    for n in 2..=4 {
        let reservation = fleet.reserve(instance(n), &Demand::default(), 0);
        let placed = place(&reservation.candidates, &Demand::default(), &[], 0).map(|choice| choice.backend_id);
        assert_eq!(placed.ok(), (n < 4).then_some(backend(2)));
        reservation.commit();
    }
    assert_eq!(fleet.used(), [1, 2]);
    let health = fleet.health();
    assert_eq!((health.registered, health.connected, health.cordoned, health.degraded), (2, 2, 1, 0));
    fleet.apply_to(1, BackendEvent::Uncordoned(Uncordoned {}));
    assert_eq!(unavailable(), [None, None]);
}

#[test]
fn fleet_backend_that_awaits_approval_gets_nothing_and_is_not_counted() {
    let fleet = fleet(1);
    let machine = fleet.machine(backend(1)).unwrap();
    fleet.apply_to(2, BackendEvent::Enrolled(Enrolled { awaits_approval: true, ..machine.details }));
    fleet.apply_to(2, BackendEvent::Connected(machine.agent_info.unwrap()));
    beat(&fleet, 2, 2, MachineStatus::default());
    assert_eq!(fleet.candidates()[1].unavailable, Some(Ineligible::Pending));
    let health = fleet.health();
    assert_eq!((health.registered, health.connected, health.pending), (1, 1, 1));
    fleet.apply_to(2, BackendEvent::Approved(Approved { max_containers: 1 }));
    let approved = &fleet.candidates()[1];
    assert_eq!((&approved.unavailable, approved.max_containers), (&None, 1));
    let health = fleet.health();
    assert_eq!((health.registered, health.connected, health.pending), (2, 2, 0));
}

/// Neither can take an instance, so a create that waits for them would wait in vain.
#[tokio::test(start_paused = true)]
async fn wait_for_room_after_the_start_does_not_wait_for_cordoned_or_pending_backends() {
    let heard = fleet(2);
    let fleet = Fleet::default();
    fleet.heartbeats().begin_listening();
    for (n, awaits_approval) in [(1, false), (2, true)] {
        let machine = heard.machine(backend(n)).unwrap();
        fleet.apply_to(n, BackendEvent::Enrolled(Enrolled { awaits_approval, ..machine.details }));
        fleet.apply_to(n, BackendEvent::Connected(machine.agent_info.unwrap()));
    }
    assert!(fleet.is_any_unknown());
    fleet.apply_to(1, BackendEvent::Cordoned(Cordoned {}));
    assert!(!fleet.is_any_unknown());
    fleet.wait_for_room(&Demand::default()).await;
}

#[test]
fn reservation_parallel_requests_never_share_a_place() {
    let fleet = fleet(1);
    let first = fleet.reserve(instance(1), &Demand::default(), 0);
    let second = fleet.reserve(instance(2), &Demand::default(), 0);
    let third = fleet.reserve(instance(3), &Demand::default(), 0);
    let offered =
        [&first, &second, &third].map(|reservation| place(&reservation.candidates, &Demand::default(), &[], 0).is_ok());
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
    let reservation = fleet.reserve(instance(1), &Demand::default(), 0);
    fleet.apply(requested(1, 1));
    drop(reservation);
    assert_eq!(fleet.used(), [1]);

    let reservation = fleet.reserve(instance(2), &Demand::default(), 0);
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
                let reservation = fleet.reserve(instance(n), &Demand::default(), u64::try_from(n).unwrap());
                let offered =
                    place(&reservation.candidates, &Demand::default(), &[], u64::try_from(n).unwrap()).is_ok();
                reservation.commit();
                offered
            })
        })
        .collect();
    let offered = threads.into_iter().map(|thread| thread.join().unwrap()).filter(|offered| *offered);
    assert_eq!(offered.count(), 6);
    assert_eq!(fleet.used(), [2, 2, 2]);
}

/// Connected by the log, but this replica has not heard them.
#[test]
fn fleet_backend_that_is_not_heard_is_no_candidate() {
    let fleet = fleet(2);
    let unheard = Fleet::default();
    for n in 1..=2 {
        let machine = fleet.machine(backend(n)).unwrap();
        let connected = machine.agent_info.clone().unwrap();
        for event in [BackendEvent::Enrolled(machine.details), BackendEvent::Connected(connected)] {
            unheard.observe(&recorded(AggregateId::Backend(backend(n)), event));
        }
    }
    beat(&unheard, 2, 2, MachineStatus::default());
    let unavailable: Vec<_> = unheard.candidates().iter().map(|candidate| candidate.unavailable.clone()).collect();
    assert_eq!(unavailable, [Some(Ineligible::Silent), None]);
    let down = EngineState::Down { reason: dockhost_domain::reported::ShortText::default() };
    beat(&unheard, 2, 2, MachineStatus { engine: Some(down), ..MachineStatus::default() });
    assert_eq!(unheard.candidates()[1].unavailable, Some(Ineligible::EngineDown));
}

#[test]
fn fleet_capacity_is_the_lower_of_enrolment_and_agent() {
    let fleet = fleet(2);
    beat(&fleet, 1, 1, MachineStatus::default());
    beat(&fleet, 2, 50, MachineStatus::default());
    let capacities = || fleet.candidates().iter().map(|candidate| candidate.max_containers).collect::<Vec<_>>();
    assert_eq!(capacities(), [1, 2]);
    // An administrator says otherwise.
    for n in 1..=2 {
        fleet.apply_to(n, BackendEvent::CapacitySet(CapacitySet { max_containers: 20 }));
    }
    assert_eq!(capacities(), [1, 20]);
}

#[test]
fn fleet_room_is_what_machines_say_they_have_less_what_is_placed_there_or_reserved() {
    let fleet = fleet(2);
    let size = Some(MachineSize { memory_mib: 1000, cpu_millis: 1000 });
    fleet.heartbeats().record(backend(1), Heartbeat { size, ..heartbeat(9, MachineStatus::default()) });
    let shown = || {
        let candidates = fleet.candidates();
        let shown =
            candidates.iter().map(|c| (c.in_use.memory_mib, c.in_use.cpu_millis, c.room.memory_mib, c.room.cpu_millis));
        shown.collect::<Vec<_>>()
    };
    // The second one does not say what it has.
    assert_eq!(shown(), [(0, 0, Some(1000), Some(4000)), (0, 0, None, None)]);
    let of = |event| match event {
        TenancyEvent::Requested(e) => {
            TenancyEvent::Requested(Requested { limits: Limits { memory_mib: 600, cpu_millis: 500, pids: 1 }, ..e })
        }
        other => other,
    };
    // Only its removal from the second one is known.
    fleet.add_placement(backend(2), instance(1), None, None);
    fleet.apply(of(requested(1, 1)));
    assert_eq!(shown(), [(600, 500, Some(1000), Some(4000)), (0, 0, None, None)]);
    // And so it is full.
    beat(&fleet, 2, 1, MachineStatus::default());
    let demand = |memory_mib| Demand { resources: Resources { memory_mib, cpu_millis: 100 }, ..Demand::default() };
    let (refused, reserved) =
        (fleet.reserve(instance(2), &demand(401), 0), fleet.reserve(instance(3), &demand(400), 0));
    assert_eq!(shown(), [(1000, 600, Some(1000), Some(4000)), (0, 0, None, None)]);
    drop((refused, reserved));
    assert_eq!(shown(), [(600, 500, Some(1000), Some(4000)), (0, 0, None, None)]);
    // It is placed again, and takes what it may use along; the old place is free once the removal is confirmed.
    let placed = |placement, from, to| {
        TenancyEvent::Placed(Placed {
            instance_id: instance(1),
            placement,
            choice: choice(to),
            deadline: Timestamp::from_millis(1),
            failure: failure_on(from),
        })
    };
    fleet.apply(placed(2, 1, 2));
    assert_eq!(shown(), [(600, 500, Some(1000), Some(4000)), (600, 500, None, None)]);
    fleet.apply(released(1, 1));
    fleet.apply(TenancyEvent::Moved(Moved {
        instance_id: instance(1),
        placement: 3,
        generation: 2,
        from: backend(2),
        choice: choice(1),
        deadline: Timestamp::from_millis(1),
        reason: MoveReason::BackendLost,
    }));
    assert_eq!(shown(), [(600, 500, Some(1000), Some(4000)), (600, 500, None, None)]);
    fleet.apply(released(1, 2));
    assert_eq!(shown(), [(600, 500, Some(1000), Some(4000)), (0, 0, None, None)]);
}

#[test]
fn fleet_backend_that_refused_is_tried_last_until_forgotten() {
    let fleet = fleet(2);
    fleet.apply(requested(1, 1));
    let placed = Placed {
        instance_id: instance(1),
        placement: 2,
        choice: choice(2),
        deadline: Timestamp::from_millis(1),
        failure: failure_on(1),
    };
    fleet.apply(TenancyEvent::Placed(placed));
    let ranks = |now| {
        let candidates =
            fleet.state().candidates(fleet.heartbeats(), Overcommit::default(), Timestamp::from_millis(now));
        candidates.iter().map(|candidate| candidate.refusals).collect::<Vec<_>>()
    };
    assert_eq!(ranks(0), [1, 0]);
    assert_eq!(ranks(61_000), [0, 0]);
    beat_in_run(&fleet, 1, Some(AgentRunId::from_uuid(Uuid::from_u128(7))));
    assert_eq!(ranks(0), [0, 0], "its agent was restarted");
}

#[tokio::test(start_paused = true)]
async fn wait_for_room_after_the_start_ends_with_the_first_heartbeat() {
    let fleet = Arc::new(Fleet::default());
    fleet.heartbeats().begin_listening();
    let template = self::fleet(1).machine(backend(1)).unwrap();
    let connected = template.agent_info.clone().unwrap();
    // Nobody is connected, so there is nobody to wait for.
    fleet.wait_for_room(&Demand::default()).await;
    for event in [BackendEvent::Enrolled(template.details), BackendEvent::Connected(connected)] {
        fleet.observe(&recorded(AggregateId::Backend(backend(1)), event));
    }
    let waiting = tokio::spawn({
        let fleet = Arc::clone(&fleet);
        async move { fleet.wait_for_room(&Demand::default()).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    beat(&fleet, 1, 2, MachineStatus::default());
    waiting.await.unwrap();
    assert_eq!(fleet.candidates()[0].unavailable, None);
}
