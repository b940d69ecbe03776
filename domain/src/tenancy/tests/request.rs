//! A user asks for an instance.

use super::build::*;
use crate::placement::{Choice, Ineligible, NoCandidate};
use crate::tenancy::event::{DeletionOutcome, Idempotency, Requested, TenancyEvent};
use crate::tenancy::{Facts, RequestInstance, RequestRejected, Tenancy};
use crate::testing::{at, given};

fn event(instance: crate::ids::InstanceId, name: &str) -> TenancyEvent {
    TenancyEvent::Requested(requested(instance, name))
}

fn named(name: &str) -> RequestInstance {
    RequestInstance { name: Some(name.parse().unwrap()), ..request(DB) }
}

fn key(key: &str, request: &str) -> Option<Idempotency> {
    Some(Idempotency { key: key.to_owned(), request: request.to_owned() })
}

#[test]
fn everything_asked_for_is_recorded_with_the_machine_chosen_and_the_time_it_has() {
    let candidates = vec![candidate(A).used(3), candidate(B).used(1)];
    let command = RequestInstance {
        name: Some("web".parse().unwrap()),
        image: Some("dockhost/debian".to_owned()),
        idempotency: key("k", "r"),
        facts: Facts { candidates, ..facts(7) },
        ..request(WEB)
    };
    given([]).when(command).then(TenancyEvent::Requested(Requested {
        image: Some("dockhost/debian".to_owned()),
        idempotency: key("k", "r"),
        choice: Choice { backend_id: B, used: 1, max_containers: 4, eligible: 2 },
        deadline: at(7 + 15),
        ..requested(WEB, "web")
    }));
}

#[test]
fn equal_machines_take_turns() {
    let command = RequestInstance { facts: Facts { tie_breaker: 1, ..facts(0) }, ..request(WEB) };
    let on_b = Requested { choice: choice(B, 3), ..requested(WEB, "ada-container") };
    given([]).when(command).then(TenancyEvent::Requested(on_b));
}

#[test]
fn default_names_count_up_and_fill_gaps() {
    given([])
        .when(request(WEB))
        .then(event(WEB, "ada-container"))
        .when(request(DB))
        .then(event(DB, "ada-container-2"))
        .when(request(CI))
        .then(event(CI, "ada-container-3"));
    given([event(DB, "ada-container-2")]).when(request(CI)).then(event(CI, "ada-container"));
    given([event(WEB, "ada-container"), event(DB, "ada-container-3")])
        .when(request(CI))
        .then(event(CI, "ada-container-2"));
}

#[test]
fn a_name_is_taken_until_its_instance_is_deleted() {
    given(past::running()).when(named("web")).then_rejected(RequestRejected::NameTaken);
    given(past::failed()).when(named("web")).then_rejected(RequestRejected::NameTaken);
    given(past::deleting()).when(named("web")).then_rejected(RequestRejected::NameTaken);
    given(past::deleted()).when(named("web")).then(event(DB, "web"));
    given(past::abandoned()).when(named("web")).then(event(DB, "web"));
    given([event(WEB, "ada-container")])
        .and([deleted(2, DeletionOutcome::Unplaced)])
        .when(request(DB))
        .then(event(DB, "ada-container"));
}

#[test]
fn a_name_leads_to_the_instance_that_has_it_now() {
    let tenancy = given::<Tenancy>(past::abandoned()).and([event(DB, "web")]).state;
    assert_eq!(tenancy.find_by_name(&"web".parse().unwrap()), Some(DB));
    assert_eq!(given::<Tenancy>(past::deleted()).state.find_by_name(&"web".parse().unwrap()), None);
}

#[test]
fn the_same_key_with_the_same_body_makes_nothing_twice() {
    let first = Requested { idempotency: key("k", "r"), ..requested(WEB, "web") };
    let with = |idempotency| RequestInstance { idempotency, ..request(DB) };
    let tenancy = given([TenancyEvent::Requested(first)]);
    tenancy.clone().when(with(key("k", "r"))).then_nothing();
    tenancy.clone().when(with(key("k", "other"))).then_rejected(RequestRejected::KeyReused);
    let used = tenancy.state.idempotency_record("k").unwrap();
    assert_eq!((used.instance_id, used.operation_id), (WEB, crate::testing::event_id(1).into()));
    let other = Requested { idempotency: key("k2", "r"), ..requested(DB, "ada-container") };
    tenancy.when(with(key("k2", "r"))).then(TenancyEvent::Requested(other));
}

/// Otherwise a repeated request would be told that its own instance is one too many, or has its name.
#[test]
fn a_repeated_request_is_recognised_before_quota_name_and_room() {
    let first = Requested { idempotency: key("k", "r"), ..requested(WEB, "web") };
    let again =
        RequestInstance { idempotency: key("k", "r"), quota: Some(1), facts: facts_with(0, &[]), ..named("web") };
    given([TenancyEvent::Requested(first)]).when(again).then_nothing();
}

#[test]
fn the_quota_counts_all_that_are_not_deleted() {
    let with = |quota| RequestInstance { quota: Some(quota), ..request(DB) };
    let exceeded = |limit, used| RequestRejected::QuotaExceeded { limit, used };
    given([]).when(with(0)).then_rejected(exceeded(0, 0));
    for past in [past::creating(), past::running(), past::stopped(), past::never_created(), past::deleting()] {
        given(past.clone()).when(with(1)).then_rejected(exceeded(1, 1));
        given(past).when(with(2)).then(event(DB, "ada-container"));
    }
    given(past::deleted()).when(with(1)).then(event(DB, "ada-container"));
}

#[test]
fn without_a_machine_each_one_has_its_reason() {
    let full = candidate(B).used(4);
    let silent = candidate(C).connected(false);
    let command = RequestInstance { facts: Facts { candidates: vec![full, silent], ..facts(0) }, ..request(WEB) };
    let reasons = NoCandidate(vec![(B, Ineligible::Full), (C, Ineligible::NotConnected)]);
    given::<Tenancy>([]).when(command).then_rejected(RequestRejected::NoCandidate(reasons));
}
