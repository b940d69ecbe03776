//! Closing a tenancy because its user was erased: only deletions remain possible, and deleted instances lose their
//! personal values, with or without the user's key.

use proptest::prelude::*;

use super::fixtures::*;
use super::simulation::{Simulation, any_steps};
use crate::aggregate::{Aggregate, Command, Meta};
use crate::personal::Personal;
use crate::tenancy::event::{CloseReason, Closed, DeletionOutcome, TenancyEvent};
use crate::tenancy::{ChangeRejected, CloseTenancy, Facts, HandleDeadline, Instance, RequestRejected, Tenancy};
use crate::testing::{given, many_cases};
use crate::wire::{DesiredState, Phase};

const CLOSE: CloseTenancy = CloseTenancy { reason: CloseReason::Erased };

fn closed() -> TenancyEvent {
    TenancyEvent::Closed(Closed { reason: CloseReason::Erased })
}

#[test]
fn tenancy_closed_accepts_only_deletions() {
    let tenancy = given(history::running())
        .when(CLOSE)
        .then(closed())
        .when(CLOSE)
        .then_nothing()
        .when(request(DB))
        .then_rejected(RequestRejected::Closed)
        .when(change(WEB, DesiredState::Stopped, 100))
        .then_rejected(ChangeRejected::NotFound);
    let instance = tenancy.state.instance(WEB).unwrap();
    assert!(instance.name.plain().is_some(), "needed until its container is removed");
    let tenancy = tenancy.and([deleted(2, DeletionOutcome::Confirmed { backend_id: A })]);
    let instance = tenancy.state.instance(WEB).unwrap();
    assert_eq!((&instance.name, &instance.ssh_public_key), (&Personal::Erased, &Personal::Erased));
}

#[test]
fn tenancy_closed_erases_deleted_instances_and_ignores_late_reports() {
    let tenancy = given(history::abandoned()).when(CLOSE).then(closed());
    assert_eq!(tenancy.state.instance(WEB).unwrap().name, Personal::Erased);
    let running = status(Phase::Running);
    let late = report(A, 1, 1, running, 1_000);
    let result = late.decide(&tenancy.state);
    assert!(!matches!(result, Ok(Some(_))), "{result:?}");
}

/// The event as read without the key.
fn without_the_key(event: &TenancyEvent) -> TenancyEvent {
    let mut event = event.clone();
    if let TenancyEvent::Requested(requested) = &mut event {
        requested.name = Personal::Erased;
        requested.ssh_public_key = Personal::Erased;
    }
    event
}

fn folded<'a>(history: impl IntoIterator<Item = (&'a TenancyEvent, &'a Meta)>) -> Tenancy {
    let mut tenancy = Tenancy::default();
    history.into_iter().for_each(|(event, meta)| tenancy.evolve(event, meta));
    tenancy
}

proptest! {
    #![proptest_config(many_cases())]

    /// After closing and deleting everything, folding with the key and without it yields the same state.
    #[test]
    fn tenancy_closed_and_empty_folds_the_same_without_the_key(steps in any_steps()) {
        let mut simulation = Simulation::run(&steps, |_, _| Ok(()))?;
        simulation.decide(&CLOSE).unwrap();
        for instance_id in simulation.instances() {
            if simulation.tenancy.instance(instance_id).is_none_or(Instance::is_deleted) {
                continue;
            }
            simulation.decide(&change(instance_id, DesiredState::Deleted, simulation.now)).unwrap();
            let instance = simulation.tenancy.instance(instance_id).unwrap();
            if let Some(now) = instance.deadline() {
                let generation = instance.generation;
                let facts = Facts { now, ..facts(0) };
                simulation.decide(&HandleDeadline { instance_id, generation, facts }).unwrap();
            }
        }
        prop_assert_eq!(simulation.tenancy.existing().count(), 0);
        let with = folded(simulation.history.iter().map(|(event, meta)| (event, meta)));
        let erased: Vec<_> = simulation.history.iter().map(|(event, meta)| (without_the_key(event), *meta)).collect();
        let without = folded(erased.iter().map(|(event, meta)| (event, meta)));
        prop_assert_eq!(&with, &without);
        prop_assert!(with.all().all(|(_, instance)| instance.name == Personal::Erased));
    }
}
