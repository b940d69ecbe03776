//! What is settled is forgotten after seven days of event time, and nothing else is.

use super::build::*;
use crate::tenancy::event::{Idempotency, Requested, TenancyEvent};
use crate::tenancy::{RETENTION, RequestInstance, Tenancy};
use crate::testing::{Given, event_id, given};
use crate::wire::ReportKind;

const DAYS_7: i64 = 7 * 24 * 60 * 60;

/// Something happens at this second; forgetting happens with it.
fn something_at(tenancy: Given<Tenancy>, seconds: i64, n: u128) -> Given<Tenancy> {
    let other = Requested { instance_id: instance(n), ..requested(DB, &format!("other-{n}")) };
    tenancy.and_at(seconds, TenancyEvent::Requested(other))
}

fn with_key() -> Option<Idempotency> {
    Some(Idempotency { key: "k".to_owned(), request: "r".to_owned() })
}

#[test]
fn the_span_is_seven_days() {
    assert_eq!(i64::try_from(RETENTION.as_secs()), Ok(DAYS_7));
}

#[test]
fn a_deleted_instance_is_remembered_for_seven_days() {
    // The fourth event, at second 4, deletes it.
    let tenancy = something_at(given(past::deleted()), 4 + DAYS_7, 10);
    assert!(tenancy.state.instance(WEB).is_some());
    let tenancy = something_at(tenancy, 4 + DAYS_7 + 1, 11);
    assert!(tenancy.state.instance(WEB).is_none());
}

#[test]
fn an_instance_that_lives_is_never_forgotten() {
    let tenancy = something_at(given(past::never_created()), 10 * DAYS_7, 10);
    assert!(tenancy.state.instance(WEB).is_some());
}

#[test]
fn a_deleted_instance_is_remembered_while_a_machine_may_hold_it() {
    let tenancy = something_at(given(past::abandoned()), 4 + DAYS_7 + 1, 10);
    assert!(tenancy.state.instance(WEB).is_some());
    let tenancy = something_at(tenancy, 3 * DAYS_7, 11)
        .when(report(A, 1, 2, ReportKind::InstanceDeleted, 2))
        .then(released(A, 1));
    assert!(tenancy.state.instance(WEB).is_some(), "it is looked at again when its next seven days are over");
    let tenancy = something_at(tenancy, 5 * DAYS_7, 12);
    assert!(tenancy.state.instance(WEB).is_none());
}

#[test]
fn a_key_counts_for_seven_days() {
    let first = Requested { idempotency: with_key(), ..requested(WEB, "web") };
    let again = || RequestInstance { idempotency: with_key(), name: Some("again".parse().unwrap()), ..request(DB) };
    let tenancy = something_at(given([TenancyEvent::Requested(first)]), 1 + DAYS_7, 10).when(again()).then_nothing();
    let anew = Requested { idempotency: with_key(), ..requested(DB, "again") };
    let tenancy = something_at(tenancy, 1 + DAYS_7 + 1, 11).when(again()).then(TenancyEvent::Requested(anew));
    assert_eq!(tenancy.state.idempotency_record("k").map(|used| used.instance_id), Some(DB));
    // The forgetting of the first use must not take the second one with it.
    let tenancy = something_at(tenancy, 1 + 2 * DAYS_7, 12);
    assert!(tenancy.state.idempotency_record("k").is_some());
}

#[test]
fn an_operation_is_remembered_for_seven_days_and_for_as_long_as_it_is_pending() {
    let create = event_id(1).into();
    let tenancy = something_at(given(past::running()), 1 + DAYS_7, 10);
    assert!(tenancy.state.operation(create).is_some());
    assert!(something_at(tenancy, 1 + DAYS_7 + 1, 11).state.operation(create).is_none());
    let tenancy = something_at(given(past::creating()), 3 * DAYS_7, 10);
    assert!(tenancy.state.operation(create).is_some());
}

#[test]
fn of_all_that_happened_nothing_is_left_behind() {
    let settled = [past::deleted(), vec![TenancyEvent::Requested(requested(DB, "db"))]].concat();
    let gone = TenancyEvent::Deleted(crate::tenancy::event::Deleted {
        instance_id: DB,
        generation: 2,
        outcome: crate::tenancy::event::DeletionOutcome::Confirmed { backend_id: A },
    });
    let tenancy = given::<Tenancy>(settled).and([gone]);
    let last = Requested { instance_id: CI, ..requested(CI, "ci") };
    let tenancy = tenancy.and_at(2 * DAYS_7, TenancyEvent::Requested(last)).state;
    assert_eq!(tenancy.all().map(|(id, _)| id).collect::<Vec<_>>(), [CI]);
    assert_eq!(tenancy.operations.len(), 1);
    assert!(tenancy.idempotency_keys.is_empty());
    assert_eq!(tenancy.retention_queue.len(), 1);
}
