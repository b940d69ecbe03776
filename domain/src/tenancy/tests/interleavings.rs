//! Properties that hold for every interleaving of commands, reports and timers.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::fixtures::*;
use super::simulation::{Decision, Simulation, any_steps};
use crate::aggregate::{Aggregate, Command, Meta};
use crate::event::Event;
use crate::ids::{BackendId, InstanceId};
use crate::subject::AggregateId;
use crate::tenancy::event::{OnLost, ReportPosition, TenancyEvent};
use crate::tenancy::{
    Facts, HandleDeadline, HandleReport, Instance, RetentionEntry, Status, Tenancy, check_invariants,
    desired_assignments,
};
use crate::testing::{at, event_id, many_cases, user};
use crate::wire::{DesiredState, Report, ReportKind};

/// The backends that may have a container of the instance.
fn backends_of(instance: &Instance) -> BTreeSet<BackendId> {
    let current = instance.current_placement.iter().map(|current| current.backend_id);
    current.chain(instance.pending_removals.keys().copied()).collect()
}

fn check_state(tenancy: &Tenancy) -> Result<(), TestCaseError> {
    prop_assert_eq!(check_invariants(tenancy), Ok(()));
    for (id, instance) in tenancy.all() {
        prop_assert_eq!(instance.status().is_transient(), instance.deadline().is_some());
        let assigned: BTreeSet<_> = desired_assignments(user(1), id, instance).into_keys().collect();
        prop_assert_eq!(assigned, backends_of(instance), "one assignment per backend that may have a container");
    }
    Ok(())
}

/// Folding the events without retention yields the same instances as the tenancy.
fn check_readers(simulation: &Simulation) -> Result<(), TestCaseError> {
    for (id, instance) in &simulation.folded {
        match simulation.tenancy.instance(*id) {
            Some(retained) => prop_assert_eq!(retained, instance),
            None => prop_assert!(instance.is_deleted() && backends_of(instance).is_empty(), "removed: {:?}", instance),
        }
    }
    prop_assert_eq!(simulation.tenancy.all().filter(|(id, _)| !simulation.folded.contains_key(id)).count(), 0);
    let occupies = |(id, instance): (InstanceId, &Instance)| backends_of(instance).into_iter().map(move |on| (on, id));
    let occupied: BTreeSet<_> = simulation.tenancy.all().flat_map(occupies).collect();
    prop_assert_eq!(&simulation.occupied, &occupied, "the capacity in use according to the events");
    Ok(())
}

/// Everything that retention can remove is in the queue exactly once.
fn check_retention(tenancy: &Tenancy) -> Result<(), TestCaseError> {
    let count = |entry: &RetentionEntry| tenancy.retention_queue.iter().filter(|(_, queued)| queued == entry).count();
    for id in tenancy.operations.keys() {
        prop_assert_eq!(count(&RetentionEntry::Operation(*id)), 1);
    }
    for (key, record) in &tenancy.idempotency_keys {
        prop_assert_eq!(count(&RetentionEntry::Key(key.clone())), 1);
        let response = (tenancy.instance(record.instance_id), tenancy.operation(record.operation_id));
        prop_assert!(matches!(response, (Some(_), Some(_))), "no response to a repeated request: {:?}", response);
    }
    let deleted: Vec<_> = tenancy.all().filter(|(_, instance)| instance.is_deleted()).map(|(id, _)| id).collect();
    for id in &deleted {
        prop_assert_eq!(count(&RetentionEntry::Instance(*id)), 1);
    }
    prop_assert_eq!(
        tenancy.retention_queue.len(),
        tenancy.operations.len() + tenancy.idempotency_keys.len() + deleted.len()
    );
    Ok(())
}

/// A request and the deadline suffice to delete an instance for its user. Once every backend has confirmed the removal,
/// no assignment remains.
fn check_deletable(simulation: &Simulation, instance_id: InstanceId) -> Result<(), TestCaseError> {
    fn apply<C: Command<Aggregate = Tenancy>>(tenancy: &mut Tenancy, n: u128, command: &C) {
        let event = command.decide(tenancy).unwrap();
        event.inspect(|event| tenancy.evolve(event, &Meta { id: event_id(u128::MAX - n), time: at(0) }));
    }
    if simulation.tenancy.instance(instance_id).is_none() {
        return Ok(());
    }
    let mut tenancy = simulation.tenancy.clone();
    apply(&mut tenancy, 0, &change(instance_id, DesiredState::Deleted, simulation.now));
    let instance = &tenancy.instances[&instance_id];
    if let Some(now) = instance.deadline() {
        let generation = instance.generation;
        apply(&mut tenancy, 1, &HandleDeadline { instance_id, generation, facts: Facts { now, ..facts(0) } });
    }
    let instance = &tenancy.instances[&instance_id];
    prop_assert!(instance.is_deleted(), "not deleted: {:?}", instance);
    for (backend_id, assignment) in desired_assignments(user(1), instance_id, instance) {
        prop_assert_eq!(assignment.desired, DesiredState::Deleted);
        let (placement, generation) = (assignment.placement, assignment.generation);
        let removed = report(backend_id, placement, generation, ReportKind::InstanceDeleted, 0);
        let report = Report { instance_id, ..removed.report };
        apply(&mut tenancy, 2, &HandleReport { report, position: simulation.next_position(), ..removed });
    }
    prop_assert_eq!(desired_assignments(user(1), instance_id, &tenancy.instances[&instance_id]), BTreeMap::new());
    check_state(&tenancy)
}

/// A report is applied once, and never after a later one of the same instance.
fn check_order(
    simulation: &Simulation,
    decision: &Decision,
    last_applied: &mut BTreeMap<InstanceId, ReportPosition>,
) -> Result<(), TestCaseError> {
    let Some(report) = &decision.report else { return Ok(()) };
    let again = report.decide(&simulation.tenancy);
    prop_assert!(!matches!(again, Ok(Some(_))), "repeated: {:?}", again);
    if let Some(TenancyEvent::Observed(_) | TenancyEvent::Failed(_)) = decision.event {
        let last = last_applied.insert(decision.instance, report.position);
        prop_assert!(last < Some(report.position), "{:?} was applied after {:?}", report.position, last);
    }
    Ok(())
}

/// Only the backend of the current placement changes an instance; others can only confirm a removal.
fn check_sender(decision: &Decision) -> Result<(), TestCaseError> {
    let (Some(report), Some(event)) = (&decision.report, &decision.event) else { return Ok(()) };
    match event {
        TenancyEvent::Released(released) => prop_assert_eq!(released.backend_id, report.backend_id),
        _ => {
            let reported = Some((report.backend_id, report.report.placement));
            prop_assert_eq!(decision.placement_before, reported, "{:?}", event);
        }
    }
    Ok(())
}

/// An instance that has been created has files, so it never moves to another backend by itself, unless its owner chose
/// that.
fn check_files(
    simulation: &Simulation,
    decision: &Decision,
    created: &mut BTreeSet<(InstanceId, u32)>,
) -> Result<(), TestCaseError> {
    let after = simulation.tenancy.instance(decision.instance);
    match &decision.event {
        Some(TenancyEvent::Observed(_)) => {
            created.extend(
                after
                    .filter(|after| after.status() == Status::Running)
                    .map(|after| (decision.instance, after.placement)),
            );
        }
        Some(TenancyEvent::Placed(placed)) => {
            let left = (placed.instance_id, placed.placement - 1);
            prop_assert!(!created.contains(&left), "its files were left behind: {:?}", placed);
        }
        Some(TenancyEvent::Moved(moved)) => {
            prop_assert!(after.is_some_and(|after| after.on_lost == OnLost::Recreate), "it is to wait: {:?}", moved);
        }
        _ => {}
    }
    Ok(())
}

proptest! {
    #![proptest_config(many_cases())]

    #[test]
    fn tenancy_after_any_interleaving_satisfies_the_invariants(steps in any_steps()) {
        let (mut last_applied, mut created) = (BTreeMap::new(), BTreeSet::new());
        let simulation = Simulation::run(&steps, |simulation, decision| {
            check_state(&simulation.tenancy)?;
            check_readers(simulation)?;
            check_retention(&simulation.tenancy)?;
            check_order(simulation, decision, &mut last_applied)?;
            check_sender(decision)?;
            check_files(simulation, decision, &mut created)?;
            check_deletable(simulation, decision.instance)
        })?;
        for instance in simulation.instances() {
            check_deletable(&simulation, instance)?;
        }
    }
}

/// Guards against properties that hold because nothing happens: 3,000 simulations contain every event, every rejection
/// and every status. Each event and the final state round-trip through JSON.
#[test]
fn simulation_covers_every_event_rejection_and_status() {
    let mut runner = TestRunner::deterministic();
    let mut covered = BTreeSet::new();
    for _ in 0..3000 {
        let steps = any_steps().new_tree(&mut runner).unwrap().current();
        let removed = Simulation::run(&steps, |simulation, decision| {
            if let Some(event) = &decision.event {
                let encoded = Event::from(event.clone()).encode().unwrap();
                covered.insert(encoded.kind.replace("dockhost.instance.", ""));
                prop_assert_eq!(Event::decode(&AggregateId::Tenancy(user(1)), encoded), Ok(event.clone().into()));
            }
            let rejected = decision.rejected.as_deref().unwrap_or("").split([' ', '(']).next().unwrap_or_default();
            covered.insert(rejected.to_owned());
            for (_, instance) in simulation.tenancy.all() {
                covered.insert(format!("{:?}", instance.status()));
            }
            Ok(())
        })
        .map(|simulation| {
            let json = serde_json::to_vec(&simulation.tenancy).unwrap();
            assert_eq!(serde_json::from_slice::<Tenancy>(&json).unwrap(), simulation.tenancy);
            simulation.folded.len() > simulation.tenancy.all().count()
        });
        covered.insert(format!("removed by retention: {}", removed.unwrap()));
    }
    covered.remove("");
    let expected = [
        "Creating",
        "Deleted",
        "Deleting",
        "ExpiresInThePast",
        "Failed",
        "KeyReused",
        "NameTaken",
        "NeverCreated",
        "NoCandidate",
        "NotFound",
        "OrphanedContainer",
        "QuotaExceeded",
        "Resuming",
        "Running",
        "Stopped",
        "Stopping",
        "TooEarly",
        "activity.v1",
        "delete-requested.v1",
        "deleted.v1",
        "failed.v2",
        "moved.v1",
        "observed.v1",
        "placed.v2",
        "released.v1",
        "removed by retention: false",
        "removed by retention: true",
        "requested.v1",
        "resume-requested.v1",
        "settings-changed.v1",
        "stop-requested.v1",
    ];
    assert_eq!(covered.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}
