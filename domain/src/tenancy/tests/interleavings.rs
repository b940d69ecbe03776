//! What every interleaving keeps, whatever is asked, reported, late, lost or repeated.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::build::*;
use super::world::{Happened, World, scenes};
use crate::aggregate::{Aggregate, Command, Meta};
use crate::event::Event;
use crate::ids::{BackendId, InstanceId};
use crate::subject::AggregateId;
use crate::tenancy::event::{ReportPosition, TenancyEvent};
use crate::tenancy::{
    Facts, HandleDeadline, HandleReport, Instance, RetentionEntry, Tenancy, check_invariants, desired_assignments,
};
use crate::testing::{at, event_id, many_cases, user};
use crate::wire::{DesiredState, Report, ReportKind};

/// The machines that hold, or may hold, a container of it.
fn held_by(instance: &Instance) -> BTreeSet<BackendId> {
    instance
        .current_placement
        .iter()
        .map(|site| site.backend_id)
        .chain(instance.pending_removals.keys().copied())
        .collect()
}

fn check_state(tenancy: &Tenancy) -> Result<(), TestCaseError> {
    prop_assert_eq!(check_invariants(tenancy), Ok(()));
    for (id, instance) in tenancy.all() {
        prop_assert_eq!(instance.status().is_transient(), instance.deadline().is_some());
        let told: BTreeSet<_> = desired_assignments(user(1), id, instance).into_keys().collect();
        prop_assert_eq!(told, held_by(instance), "each machine that may hold something is told, and no other");
    }
    Ok(())
}

/// What a reader of the events alone makes of them is what the decisions see.
fn check_readers(world: &World) -> Result<(), TestCaseError> {
    for (id, instance) in &world.folded {
        match world.tenancy.instance(*id) {
            Some(remembered) => prop_assert_eq!(remembered, instance),
            None => prop_assert!(instance.is_deleted() && held_by(instance).is_empty(), "forgotten: {:?}", instance),
        }
    }
    prop_assert_eq!(world.tenancy.all().filter(|(id, _)| !world.folded.contains_key(id)).count(), 0);
    let holds = |(id, instance): (InstanceId, &Instance)| held_by(instance).into_iter().map(move |on| (on, id));
    let held: BTreeSet<_> = world.tenancy.all().flat_map(holds).collect();
    prop_assert_eq!(&world.holds, &held, "the room that events alone say is held");
    Ok(())
}

/// All that can be forgotten stands in the queue once, so nothing stays for ever and nothing is forgotten twice.
fn check_memory(tenancy: &Tenancy) -> Result<(), TestCaseError> {
    let count = |wanted: &RetentionEntry| tenancy.retention_queue.iter().filter(|(_, fading)| fading == wanted).count();
    for id in tenancy.operations.keys() {
        prop_assert_eq!(count(&RetentionEntry::Operation(*id)), 1);
    }
    for (key, used) in &tenancy.idempotency_keys {
        prop_assert_eq!(count(&RetentionEntry::Key(key.clone())), 1);
        let answer = (tenancy.instance(used.instance_id), tenancy.operation(used.operation_id));
        prop_assert!(matches!(answer, (Some(_), Some(_))), "a repeated request has no answer: {:?}", answer);
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

/// The wish, and time: nothing else is needed for an instance to be gone for its user. Then each machine says that
/// nothing is left, and nothing is wanted of anybody.
fn check_deletable(world: &World, instance_id: InstanceId) -> Result<(), TestCaseError> {
    fn then<C: Command<Aggregate = Tenancy>>(tenancy: &mut Tenancy, n: u128, command: &C) {
        let event = command.decide(tenancy).unwrap();
        event.inspect(|event| tenancy.evolve(event, &Meta { id: event_id(u128::MAX - n), time: at(0) }));
    }
    if world.tenancy.instance(instance_id).is_none() {
        return Ok(());
    }
    let mut tenancy = world.tenancy.clone();
    then(&mut tenancy, 0, &change(instance_id, DesiredState::Deleted, world.now));
    let instance = &tenancy.instances[&instance_id];
    if let Some(now) = instance.deadline() {
        let generation = instance.generation;
        then(&mut tenancy, 1, &HandleDeadline { instance_id, generation, facts: Facts { now, ..facts(0) } });
    }
    let instance = &tenancy.instances[&instance_id];
    prop_assert!(instance.is_deleted(), "still there: {:?}", instance);
    for (backend_id, told) in desired_assignments(user(1), instance_id, instance) {
        prop_assert_eq!(told.desired, DesiredState::Deleted);
        let (placement, generation) = (told.placement, told.generation);
        let gone = report(backend_id, placement, generation, ReportKind::InstanceDeleted, 0);
        let report = Report { instance_id, ..gone.report };
        then(&mut tenancy, 2, &HandleReport { report, position: world.next_position(), ..gone });
    }
    prop_assert_eq!(desired_assignments(user(1), instance_id, &tenancy.instances[&instance_id]), BTreeMap::new());
    check_state(&tenancy)
}

/// A report counts once, and never after a later one of the same instance has counted.
fn check_order(
    world: &World,
    happened: &Happened,
    counted: &mut BTreeMap<InstanceId, ReportPosition>,
) -> Result<(), TestCaseError> {
    let Some(report) = &happened.report else { return Ok(()) };
    let again = report.decide(&world.tenancy);
    prop_assert!(!matches!(again, Ok(Some(_))), "repeated: {:?}", again);
    if let Some(TenancyEvent::Observed(_) | TenancyEvent::Failed(_)) = happened.event {
        let last = counted.insert(happened.instance, report.position);
        prop_assert!(last < Some(report.position), "{:?} counted after {:?}", report.position, last);
    }
    Ok(())
}

/// Only the machine that holds the placement changes an instance; another can only say that it holds nothing any more.
fn check_speaker(happened: &Happened) -> Result<(), TestCaseError> {
    let (Some(report), Some(event)) = (&happened.report, &happened.event) else { return Ok(()) };
    match event {
        TenancyEvent::Released(released) => prop_assert_eq!(released.backend_id, report.backend_id),
        _ => prop_assert_eq!(happened.held, Some((report.backend_id, report.report.placement)), "{:?}", event),
    }
    Ok(())
}

proptest! {
    #![proptest_config(many_cases())]

    #[test]
    fn every_interleaving_is_legal_and_every_instance_can_be_deleted(scenes in scenes()) {
        let mut counted = BTreeMap::new();
        let world = World::play(&scenes, |world, happened| {
            check_state(&world.tenancy)?;
            check_readers(world)?;
            check_memory(&world.tenancy)?;
            check_order(world, happened, &mut counted)?;
            check_speaker(happened)?;
            check_deletable(world, happened.instance)
        })?;
        for instance in world.instances() {
            check_deletable(&world, instance)?;
        }
    }
}

/// Properties that hold because nothing happens would be worth nothing: a thousand drawn worlds see every event, every
/// rejection, and each status. And what was seen survives being written and read.
#[test]
fn the_drawn_worlds_see_everything() {
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..1000 {
        let drawn = scenes().new_tree(&mut runner).unwrap().current();
        let forgotten = World::play(&drawn, |world, happened| {
            if let Some(event) = &happened.event {
                let written = Event::from(event.clone()).encode().unwrap();
                seen.insert(written.kind.replace("dockhost.instance.", ""));
                prop_assert_eq!(Event::decode(&AggregateId::Tenancy(user(1)), written), Ok(event.clone().into()));
            }
            let rejected = happened.rejected.as_deref().unwrap_or("").split([' ', '(']).next().unwrap_or_default();
            seen.insert(rejected.to_owned());
            for (_, instance) in world.tenancy.all() {
                seen.insert(format!("{:?}", instance.status()));
            }
            Ok(())
        })
        .map(|world| {
            let written = serde_json::to_vec(&world.tenancy).unwrap();
            assert_eq!(serde_json::from_slice::<Tenancy>(&written).unwrap(), world.tenancy);
            world.folded.len() > world.tenancy.all().count()
        });
        seen.insert(format!("forgotten {}", forgotten.unwrap()));
    }
    seen.remove("");
    let expected = [
        "Creating",
        "Deleted",
        "Deleting",
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
        "delete-requested.v1",
        "deleted.v1",
        "failed.v1",
        "forgotten false",
        "forgotten true",
        "observed.v1",
        "placed.v1",
        "released.v1",
        "requested.v1",
        "resume-requested.v1",
        "stop-requested.v1",
    ];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}
