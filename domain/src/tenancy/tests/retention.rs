//! Retention removes finished things after 7 days of event time, and nothing else.

use super::fixtures::*;
use crate::tenancy::event::{Idempotency, Requested, TenancyEvent};
use crate::tenancy::{RETENTION, RequestInstance, Tenancy};
use crate::testing::{Given, event_id, given};
use crate::wire::ReportKind;

const DAYS_7: i64 = 7 * 24 * 60 * 60;

/// Applies an unrelated event at this second, and so the retention.
fn other_event_at(tenancy: Given<Tenancy>, seconds: i64, n: u128) -> Given<Tenancy> {
    let other = Requested { instance_id: instance(n), ..requested(DB, &format!("other-{n}")) };
    tenancy.and_at(seconds, TenancyEvent::Requested(other))
}

fn with_key() -> Option<Idempotency> {
    Some(Idempotency { key: "k".to_owned(), request: "r".to_owned() })
}

#[test]
fn retention_is_seven_days() {
    assert_eq!(i64::try_from(RETENTION.as_secs()), Ok(DAYS_7));
}

#[test]
fn retention_of_a_deleted_instance_is_seven_days() {
    // The fourth event, at second 4, deletes it.
    let tenancy = other_event_at(given(history::deleted()), 4 + DAYS_7, 10);
    assert!(tenancy.state.instance(WEB).is_some());
    let tenancy = other_event_at(tenancy, 4 + DAYS_7 + 1, 11);
    assert!(tenancy.state.instance(WEB).is_none());
}

#[test]
fn retention_of_an_instance_that_exists_is_unlimited() {
    let tenancy = other_event_at(given(history::never_created()), 10 * DAYS_7, 10);
    assert!(tenancy.state.instance(WEB).is_some());
}

#[test]
fn retention_of_a_deleted_instance_lasts_while_a_removal_is_pending() {
    let tenancy = other_event_at(given(history::abandoned()), 4 + DAYS_7 + 1, 10);
    assert!(tenancy.state.instance(WEB).is_some());
    let tenancy = other_event_at(tenancy, 3 * DAYS_7, 11)
        .when(report(A, 1, 2, ReportKind::InstanceDeleted, 2))
        .then(released(A, 1));
    assert!(tenancy.state.instance(WEB).is_some(), "it is checked again after another 7 days");
    let tenancy = other_event_at(tenancy, 5 * DAYS_7, 12);
    assert!(tenancy.state.instance(WEB).is_none());
}

#[test]
fn retention_of_an_idempotency_key_is_seven_days() {
    let first = Requested { idempotency: with_key(), ..requested(WEB, "web") };
    let again = || RequestInstance { idempotency: with_key(), name: Some("again".parse().unwrap()), ..request(DB) };
    let tenancy = other_event_at(given([TenancyEvent::Requested(first)]), 1 + DAYS_7, 10).when(again()).then_nothing();
    let second = Requested { idempotency: with_key(), ..requested(DB, "again") };
    let tenancy = other_event_at(tenancy, 1 + DAYS_7 + 1, 11).when(again()).then(TenancyEvent::Requested(second));
    assert_eq!(tenancy.state.idempotency_record("k").map(|record| record.instance_id), Some(DB));
    // Removing the first record must not remove the second one.
    let tenancy = other_event_at(tenancy, 1 + 2 * DAYS_7, 12);
    assert!(tenancy.state.idempotency_record("k").is_some());
}

#[test]
fn retention_of_an_operation_is_seven_days_and_while_it_is_pending() {
    let create = event_id(1).into();
    let tenancy = other_event_at(given(history::running()), 1 + DAYS_7, 10);
    assert!(tenancy.state.operation(create).is_some());
    assert!(other_event_at(tenancy, 1 + DAYS_7 + 1, 11).state.operation(create).is_none());
    let tenancy = other_event_at(given(history::creating()), 3 * DAYS_7, 10);
    assert!(tenancy.state.operation(create).is_some());
}

#[test]
fn retention_leaves_nothing_behind() {
    let events = [history::deleted(), vec![TenancyEvent::Requested(requested(DB, "db"))]].concat();
    let deletion = TenancyEvent::Deleted(crate::tenancy::event::Deleted {
        instance_id: DB,
        generation: 2,
        outcome: crate::tenancy::event::DeletionOutcome::Confirmed { backend_id: A },
    });
    let tenancy = given::<Tenancy>(events).and([deletion]);
    let last = Requested { instance_id: CI, ..requested(CI, "ci") };
    let tenancy = tenancy.and_at(2 * DAYS_7, TenancyEvent::Requested(last)).state;
    assert_eq!(tenancy.all().map(|(id, _)| id).collect::<Vec<_>>(), [CI]);
    assert_eq!(tenancy.operations.len(), 1);
    assert!(tenancy.idempotency_keys.is_empty());
    assert_eq!(tenancy.retention_queue.len(), 1);
}
