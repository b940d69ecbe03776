//! A tenancy ends because its user was erased: nothing begins any more, what is there goes to its end, and then nothing
//! that they typed is left, whether or not their key can still be had.

use proptest::prelude::*;

use super::build::*;
use super::world::{World, scenes};
use crate::aggregate::{Aggregate, Meta};
use crate::personal::Personal;
use crate::tenancy::event::{CloseReason, Closed, DeletionOutcome, TenancyEvent};
use crate::tenancy::{ChangeRejected, CloseTenancy, HandleDeadline, Instance, RequestRejected, Tenancy};
use crate::testing::{given, many_cases};
use crate::wire::{DesiredState, Phase};

const CLOSE: CloseTenancy = CloseTenancy { reason: CloseReason::Erased };

fn closed() -> TenancyEvent {
    TenancyEvent::Closed(Closed { reason: CloseReason::Erased })
}

#[test]
fn nothing_begins_in_a_closed_tenancy_and_what_is_there_can_only_go() {
    let tenancy = given(past::running())
        .when(CLOSE)
        .then(closed())
        .when(CLOSE)
        .then_nothing()
        .when(request(DB))
        .then_rejected(RequestRejected::Closed)
        .when(change(WEB, DesiredState::Stopped, 100))
        .then_rejected(ChangeRejected::NotFound);
    let instance = tenancy.state.instance(WEB).unwrap();
    assert!(instance.name.plain().is_some(), "its container must be found and removed first");
    let gone = tenancy.and([deleted(2, DeletionOutcome::Confirmed { backend_id: A })]);
    let instance = gone.state.instance(WEB).unwrap();
    assert_eq!((&instance.name, &instance.ssh_public_key), (&Personal::Erased, &Personal::Erased));
}

#[test]
fn what_was_deleted_before_is_blank_too_and_a_late_report_brings_nothing_back() {
    let tenancy = given(past::abandoned()).when(CLOSE).then(closed());
    assert_eq!(tenancy.state.instance(WEB).unwrap().name, Personal::Erased);
    let seen = crate::wire::ReportKind::InstanceStatus(container(Phase::Running));
    let late = report(A, 1, 1, seen, 1_000);
    let outcome = crate::aggregate::Command::decide(&late, &tenancy.state);
    assert!(!matches!(outcome, Ok(Some(_))), "{outcome:?}");
}

/// As a reader without the key sees it.
fn without_the_key(event: &TenancyEvent) -> TenancyEvent {
    let mut event = event.clone();
    if let TenancyEvent::Requested(requested) = &mut event {
        requested.name = Personal::Erased;
        requested.ssh_public_key = Personal::Erased;
    }
    event
}

fn folded<'a>(past: impl IntoIterator<Item = (&'a TenancyEvent, &'a Meta)>) -> Tenancy {
    let mut tenancy = Tenancy::default();
    past.into_iter().for_each(|(event, meta)| tenancy.evolve(event, meta));
    tenancy
}

proptest! {
    #![proptest_config(many_cases())]

    /// Whatever happened before: closed, and all of it deleted, a state that was folded with the key in hand is the one
    /// that is folded without it.
    #[test]
    fn the_end_is_the_same_with_and_without_the_key(scenes in scenes()) {
        let mut world = World::play(&scenes, |_, _| Ok(()))?;
        world.decide(&CLOSE).unwrap();
        for instance_id in world.instances() {
            if world.tenancy.instance(instance_id).is_none_or(Instance::is_deleted) {
                continue;
            }
            world.decide(&change(instance_id, DesiredState::Deleted, world.now)).unwrap();
            let instance = world.tenancy.instance(instance_id).unwrap();
            if let Some(now) = instance.deadline() {
                let generation = instance.generation;
                let facts = crate::tenancy::Facts { now, ..facts(0) };
                world.decide(&HandleDeadline { instance_id, generation, facts }).unwrap();
            }
        }
        prop_assert_eq!(world.tenancy.existing().count(), 0);
        let with = folded(world.past.iter().map(|(event, meta)| (event, meta)));
        let blank: Vec<_> = world.past.iter().map(|(event, meta)| (without_the_key(event), *meta)).collect();
        let without = folded(blank.iter().map(|(event, meta)| (event, meta)));
        prop_assert_eq!(&with, &without);
        prop_assert!(with.all().all(|(_, instance)| instance.name == Personal::Erased));
    }
}
