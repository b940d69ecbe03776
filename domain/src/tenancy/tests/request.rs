//! Requests for an instance.

use super::fixtures::*;
use crate::ids::BackendId;
use crate::labels::Labels;
use crate::placement::{Choice, Ineligible, NoCandidate};
use crate::quota::QuotaExceeded;
use crate::tenancy::event::{DeletionOutcome, Failed, FailureReason, Idempotency, Requested, TenancyEvent};
use crate::tenancy::{Facts, HandleDeadline, RequestInstance, RequestRejected, Tenancy};
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
fn request_records_its_values_the_choice_and_the_deadline() {
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
fn request_among_equal_backends_follows_the_tie_breaker() {
    let command = RequestInstance { facts: Facts { tie_breaker: 1, ..facts(0) }, ..request(WEB) };
    let on_b = Requested { choice: choice(B, 3), ..requested(WEB, "ada-container") };
    given([]).when(command).then(TenancyEvent::Requested(on_b));
}

#[test]
fn request_without_a_name_gets_the_first_free_default_name() {
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
fn request_with_the_name_of_an_existing_instance_is_rejected() {
    given(history::running()).when(named("web")).then_rejected(RequestRejected::NameTaken);
    given(history::failed()).when(named("web")).then_rejected(RequestRejected::NameTaken);
    given(history::deleting()).when(named("web")).then_rejected(RequestRejected::NameTaken);
    given(history::deleted()).when(named("web")).then(event(DB, "web"));
    given(history::abandoned()).when(named("web")).then(event(DB, "web"));
    given([event(WEB, "ada-container")])
        .and([deleted(2, DeletionOutcome::Unplaced)])
        .when(request(DB))
        .then(event(DB, "ada-container"));
}

#[test]
fn find_by_name_ignores_deleted_instances() {
    let tenancy = given::<Tenancy>(history::abandoned()).and([event(DB, "web")]).state;
    assert_eq!(tenancy.find_by_name(&"web".parse().unwrap()), Some(DB));
    assert_eq!(given::<Tenancy>(history::deleted()).state.find_by_name(&"web".parse().unwrap()), None);
}

#[test]
fn request_repeated_with_the_same_key_decides_nothing() {
    let first = Requested { idempotency: key("k", "r"), ..requested(WEB, "web") };
    let with = |idempotency| RequestInstance { idempotency, ..request(DB) };
    let tenancy = given([TenancyEvent::Requested(first)]);
    tenancy.clone().when(with(key("k", "r"))).then_nothing();
    tenancy.clone().when(with(key("k", "other"))).then_rejected(RequestRejected::KeyReused);
    let record = tenancy.state.idempotency_record("k").unwrap();
    assert_eq!((record.instance_id, record.operation_id), (WEB, crate::testing::event_id(1).into()));
    let other = Requested { idempotency: key("k2", "r"), ..requested(DB, "ada-container") };
    tenancy.when(with(key("k2", "r"))).then(TenancyEvent::Requested(other));
}

/// Otherwise the instance of the first request would exceed the quota or have the same name.
#[test]
fn request_repeated_is_recognised_before_quota_name_and_candidates() {
    let first = Requested { idempotency: key("k", "r"), ..requested(WEB, "web") };
    let again =
        RequestInstance { idempotency: key("k", "r"), quota: at_most(1), facts: facts_with(0, &[]), ..named("web") };
    given([TenancyEvent::Requested(first)]).when(again).then_nothing();
}

#[test]
fn request_quota_counts_all_instances_that_are_not_deleted() {
    let with = |limit| RequestInstance { quota: at_most(limit), ..request(DB) };
    let exceeded = |limit, used| RequestRejected::QuotaExceeded(QuotaExceeded::Instances { limit, used });
    given([]).when(with(0)).then_rejected(exceeded(0, 0));
    for history in
        [history::creating(), history::running(), history::stopped(), history::never_created(), history::deleting()]
    {
        given(history.clone()).when(with(1)).then_rejected(exceeded(1, 1));
        given(history).when(with(2)).then(event(DB, "ada-container"));
    }
    given(history::deleted()).when(with(1)).then(event(DB, "ada-container"));
}

#[test]
fn request_without_a_candidate_is_rejected_with_each_reason() {
    let full = candidate(B).used(4);
    let disconnected = candidate(C).connected(false);
    let command = RequestInstance { facts: Facts { candidates: vec![full, disconnected], ..facts(0) }, ..request(WEB) };
    let reasons = NoCandidate(vec![(B, Ineligible::Full), (C, Ineligible::NotConnected)]);
    given::<Tenancy>([]).when(command).then_rejected(RequestRejected::NoCandidate(reasons));
}

#[test]
fn request_that_requires_a_label_is_placed_and_placed_again_only_where_it_is() {
    let gpu: Labels = serde_json::from_value(serde_json::json!({ "gpu": "yes" })).unwrap();
    let with_gpu = |backends: &[BackendId]| Facts {
        candidates: [A, B, C]
            .map(|id| candidate(id).labels(if backends.contains(&id) { gpu.clone() } else { Labels::default() }))
            .to_vec(),
        ..facts(0)
    };
    let command =
        |backends: &[BackendId]| RequestInstance { requires: gpu.clone(), facts: with_gpu(backends), ..request(WEB) };
    let missing = Ineligible::LabelMissing("gpu=yes".parse().unwrap());
    let none = NoCandidate([A, B, C].map(|id| (id, missing.clone())).to_vec());
    let requested = TenancyEvent::Requested(Requested {
        requires: gpu.clone(),
        choice: choice(B, 2),
        ..requested(WEB, "ada-container")
    });
    let tenancy = given([]).when(command(&[])).then_rejected(RequestRejected::NoCandidate(none));
    let tenancy = tenancy.when(command(&[B, C])).then(requested);
    let late = |backends: &[BackendId]| HandleDeadline {
        facts: Facts { now: at(15), ..with_gpu(backends) },
        ..deadline(1, 15)
    };
    let again = placed(2, choice(C, 1), failure(B, FailureReason::Late), at(30));
    tenancy.clone().when(late(&[B])).then(TenancyEvent::Failed(Failed {
        instance_id: WEB,
        generation: 1,
        failure: failure(B, FailureReason::Late),
        abandons_placement: true,
        report: None,
    }));
    tenancy.when(late(&[B, C])).then(again);
}
