//! What each machine is told: one assignment for each that holds, should hold, or may still hold a container.

use std::collections::BTreeMap;

use super::build::*;
use crate::ids::BackendId;
use crate::personal::Personal;
use crate::tenancy::event::{Requested, TenancyEvent};
use crate::tenancy::{Tenancy, desired_assignments};
use crate::testing::{at, given, user};
use crate::wire::{Assignment, ContainerSpec, DesiredState};

fn told(past: Vec<TenancyEvent>) -> BTreeMap<BackendId, Assignment> {
    let tenancy = given::<Tenancy>(past).state;
    desired_assignments(user(1), WEB, tenancy.instance(WEB).unwrap())
}

fn assignment(placement: u32, generation: u32, wanted: DesiredState, container: Option<ContainerSpec>) -> Assignment {
    Assignment { instance_id: WEB, user_id: user(1), placement, generation, desired: wanted, container }
}

fn spec(container_id: Option<&str>) -> Option<ContainerSpec> {
    Some(ContainerSpec {
        image: None,
        hostname: "web".to_owned(),
        ssh_public_key: SSH_KEY.to_owned(),
        limits: LIMITS,
        container_id: container_id.map(str::to_owned),
    })
}

#[test]
fn the_machine_of_an_instance_is_told_what_is_wanted_and_which_container_is_known() {
    let on_a = |told: Assignment| BTreeMap::from([(A, told)]);
    let known = || spec(Some("c1"));
    assert_eq!(told(past::creating()), on_a(assignment(1, 1, DesiredState::Running, spec(None))));
    assert_eq!(told(past::running()), on_a(assignment(1, 1, DesiredState::Running, known())));
    assert_eq!(told(past::recovering()), on_a(assignment(1, 1, DesiredState::Running, known())));
    assert_eq!(told(past::stopping()), on_a(assignment(1, 2, DesiredState::Stopped, known())));
    assert_eq!(told(past::stopped()), on_a(assignment(1, 2, DesiredState::Stopped, known())));
    assert_eq!(told(past::resuming()), on_a(assignment(1, 3, DesiredState::Running, known())));
    assert_eq!(told(past::failed()), on_a(assignment(1, 2, DesiredState::Stopped, known())));
    assert_eq!(told(past::deleting()), on_a(assignment(1, 2, DesiredState::Deleted, None)));
    assert_eq!(told(past::deleted()), BTreeMap::new());
}

#[test]
fn a_machine_that_was_given_up_is_told_to_remove_what_it_may_hold() {
    let gone = |generation| BTreeMap::from([(A, assignment(1, generation, DesiredState::Deleted, None))]);
    assert_eq!(told(past::never_created()), gone(1));
    assert_eq!(told(past::abandoned()), gone(2));
    let moved = past::creating().into_iter().chain([placed(2, choice(B, 2), refusal(A, "no_ports"), at(30))]);
    let both =
        [(A, assignment(1, 1, DesiredState::Deleted, None)), (B, assignment(2, 1, DesiredState::Running, spec(None)))];
    assert_eq!(told(moved.clone().collect()), both.into());
    let released: Vec<_> = moved.chain([released(A, 1)]).collect();
    assert_eq!(told(released), BTreeMap::from([(B, assignment(2, 1, DesiredState::Running, spec(None)))]));
}

#[test]
fn the_image_asked_for_is_passed_on() {
    let image = Some("dockhost/debian".to_owned());
    let asked = Requested { image: image.clone(), ..requested(WEB, "web") };
    let told = told(vec![TenancyEvent::Requested(asked)]);
    assert_eq!(told[&A].container.as_ref().unwrap().image, image);
}

/// Without a key there is nothing to make, whichever of the two was typed.
#[test]
fn nothing_is_made_for_an_erased_person() {
    let erased = [
        Requested { name: Personal::Erased, ..requested(WEB, "web") },
        Requested { ssh_public_key: Personal::Erased, ..requested(WEB, "web") },
    ];
    for requested in erased {
        let told = told(vec![TenancyEvent::Requested(requested)]);
        assert_eq!(told, BTreeMap::from([(A, assignment(1, 1, DesiredState::Deleted, None))]));
    }
}
