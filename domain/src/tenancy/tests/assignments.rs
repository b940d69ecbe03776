//! The assignments of an instance in each state.

use std::collections::BTreeMap;

use super::fixtures::*;
use crate::ids::BackendId;
use crate::personal::Personal;
use crate::tenancy::event::{Requested, TenancyEvent};
use crate::tenancy::{Tenancy, desired_assignments};
use crate::testing::{at, given, user};
use crate::wire::{Assignment, ContainerSpec, DesiredState, RestartPolicy};

/// [`SSH_KEY`] without its comment.
const KEY: &str = "ssh-ed25519 AAAA";

fn assignments(history: Vec<TenancyEvent>) -> BTreeMap<BackendId, Assignment> {
    let tenancy = given::<Tenancy>(history).state;
    desired_assignments(user(1), WEB, tenancy.instance(WEB).unwrap())
}

fn assignment(placement: u32, generation: u32, desired: DesiredState, container: Option<ContainerSpec>) -> Assignment {
    Assignment { instance_id: WEB, user_id: user(1), placement, generation, desired, container }
}

fn spec(container_id: Option<&str>) -> Option<ContainerSpec> {
    Some(ContainerSpec {
        image: None,
        hostname: "web".to_owned(),
        ssh_public_key: KEY.to_owned(),
        authorized_keys: None,
        limits: LIMITS,
        container_id: container_id.map(str::to_owned),
        restart: RestartPolicy::default(),
        has_run: false,
    })
}

#[test]
fn assignments_contain_the_desired_state_and_the_observed_container() {
    let on_a = |assignment: Assignment| BTreeMap::from([(A, assignment)]);
    let observed = || spec(Some("c1"));
    assert_eq!(assignments(history::creating()), on_a(assignment(1, 1, DesiredState::Running, spec(None))));
    assert_eq!(assignments(history::running()), on_a(assignment(1, 1, DesiredState::Running, observed())));
    assert_eq!(assignments(history::recovering()), on_a(assignment(1, 1, DesiredState::Running, observed())));
    assert_eq!(assignments(history::stopping()), on_a(assignment(1, 2, DesiredState::Stopped, observed())));
    assert_eq!(assignments(history::stopped()), on_a(assignment(1, 2, DesiredState::Stopped, observed())));
    assert_eq!(assignments(history::resuming()), on_a(assignment(1, 3, DesiredState::Running, observed())));
    assert_eq!(assignments(history::failed()), on_a(assignment(1, 2, DesiredState::Stopped, observed())));
    assert_eq!(assignments(history::deleting()), on_a(assignment(1, 2, DesiredState::Deleted, None)));
    assert_eq!(assignments(history::deleted()), BTreeMap::new());
}

#[test]
fn assignments_of_an_abandoned_placement_request_the_removal() {
    let removal = |generation| BTreeMap::from([(A, assignment(1, generation, DesiredState::Deleted, None))]);
    assert_eq!(assignments(history::never_created()), removal(1));
    assert_eq!(assignments(history::abandoned()), removal(2));
    let moved = history::creating().into_iter().chain([placed(2, choice(B, 2), refusal(A, "no_ports"), at(30))]);
    let both =
        [(A, assignment(1, 1, DesiredState::Deleted, None)), (B, assignment(2, 1, DesiredState::Running, spec(None)))];
    assert_eq!(assignments(moved.clone().collect()), both.into());
    let released: Vec<_> = moved.chain([released(A, 1)]).collect();
    assert_eq!(assignments(released), BTreeMap::from([(B, assignment(2, 1, DesiredState::Running, spec(None)))]));
}

/// The comment may be a person's mail address.
#[test]
fn assignments_contain_the_key_without_its_comment() {
    let ssh_public_key = "ssh-ed25519 AAAA ada@example.org ada's laptop".to_owned().into();
    let requested = Requested { ssh_public_key, ..requested(WEB, "web") };
    let assigned = assignments(vec![TenancyEvent::Requested(requested)]);
    assert_eq!(assigned[&A].container.as_ref().unwrap().ssh_public_key, KEY);
}

#[test]
fn assignments_contain_the_requested_image() {
    let image = Some("dockhost/debian".to_owned());
    let requested = Requested { image: image.clone(), ..requested(WEB, "web") };
    let assigned = assignments(vec![TenancyEvent::Requested(requested)]);
    assert_eq!(assigned[&A].container.as_ref().unwrap().image, image);
}

/// Without the name or the SSH key no container can be created.
#[test]
fn assignments_of_an_erased_user_request_the_removal() {
    let erased = [
        Requested { name: Personal::Erased, ..requested(WEB, "web") },
        Requested { ssh_public_key: Personal::Erased, ..requested(WEB, "web") },
    ];
    for requested in erased {
        let assigned = assignments(vec![TenancyEvent::Requested(requested)]);
        assert_eq!(assigned, BTreeMap::from([(A, assignment(1, 1, DesiredState::Deleted, None))]));
    }
}

/// What has run in the current generation, and must not be started again.
#[test]
fn assignments_with_the_policy_never_say_whether_the_container_has_run() {
    let with_policy = |restart, history: Vec<TenancyEvent>| {
        let history = history.into_iter().map(|event| match event {
            TenancyEvent::Requested(requested) => TenancyEvent::Requested(Requested { restart, ..requested }),
            event => event,
        });
        let container = assignments(history.collect())[&A].container.clone().unwrap();
        (container.restart, container.has_run)
    };
    let never = RestartPolicy::Never;
    assert_eq!(with_policy(never, history::creating()), (never, false));
    assert_eq!(with_policy(never, history::running()), (never, true));
    assert_eq!(with_policy(never, history::stopped()), (never, false));
    assert_eq!(with_policy(never, history::resuming()), (never, false), "it has run, but not since the request");
    let on_failure = RestartPolicy::OnFailure;
    assert_eq!(with_policy(on_failure, history::running()), (on_failure, false));
}
