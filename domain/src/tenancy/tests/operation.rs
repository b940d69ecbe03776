//! What became of what a user asked for. An operation is named after the event that recorded the wish.

use super::build::*;
use crate::tenancy::event::{DeletionOutcome, FailureReason, TenancyEvent};
use crate::tenancy::{Operation, OperationKind, Outcome, Tenancy};
use crate::testing::{at, event_id, given};
use crate::wire::Phase;

/// What became of the wish that the `n`th event recorded.
fn outcome(past: &[TenancyEvent], n: u128) -> Option<(OperationKind, Outcome)> {
    let tenancy = given::<Tenancy>(past.to_vec()).state;
    let operation: Option<&Operation> = tenancy.operation(event_id(n).into());
    operation.map(|operation| {
        assert_eq!(operation.instance_id, WEB);
        (operation.kind, operation.outcome.clone())
    })
}

fn with(past: Vec<TenancyEvent>, more: impl IntoIterator<Item = TenancyEvent>) -> Vec<TenancyEvent> {
    past.into_iter().chain(more).collect()
}

#[test]
fn a_create_is_pending_until_its_instance_runs_or_fails() {
    assert_eq!(outcome(&past::creating(), 1), Some((OperationKind::Create, Outcome::Pending)));
    assert_eq!(outcome(&past::running(), 1), Some((OperationKind::Create, Outcome::Succeeded)));
    assert_eq!(outcome(&past::never_created(), 1), Some((OperationKind::Create, Outcome::Failed)));
}

#[test]
fn another_machine_is_another_try_of_the_same_operation() {
    let placed = with(past::creating(), [placed(2, choice(B, 2), refusal(A, "no_ports"), at(30))]);
    assert_eq!(outcome(&placed, 1), Some((OperationKind::Create, Outcome::Pending)));
    assert_eq!(outcome(&placed, 2), None);
}

#[test]
fn each_wish_has_its_own_operation() {
    assert_eq!(outcome(&past::stopping(), 3), Some((OperationKind::Stop, Outcome::Pending)));
    assert_eq!(outcome(&past::stopped(), 3), Some((OperationKind::Stop, Outcome::Succeeded)));
    assert_eq!(outcome(&past::resuming(), 5), Some((OperationKind::Resume, Outcome::Pending)));
    assert_eq!(outcome(&past::failed(), 3), Some((OperationKind::Stop, Outcome::Failed)));
    assert_eq!(outcome(&past::deleting(), 3), Some((OperationKind::Delete, Outcome::Pending)));
    assert_eq!(outcome(&past::deleted(), 3), Some((OperationKind::Delete, Outcome::Succeeded)));
    assert_eq!(outcome(&past::abandoned(), 3), Some((OperationKind::Delete, Outcome::Succeeded)));
}

#[test]
fn a_new_wish_supersedes_the_one_that_waits() {
    let stop = TenancyEvent::StopRequested(change_requested(2, 40));
    let past = with(past::creating(), [stop, TenancyEvent::DeleteRequested(change_requested(3, 50))]);
    assert_eq!(outcome(&past, 1), Some((OperationKind::Create, Outcome::Superseded)));
    assert_eq!(outcome(&past, 2), Some((OperationKind::Stop, Outcome::Superseded)));
    assert_eq!(outcome(&past, 3), Some((OperationKind::Delete, Outcome::Pending)));
}

#[test]
fn a_deletion_at_once_is_wish_and_fulfilment() {
    let past = with(past::never_created(), [deleted(2, DeletionOutcome::Unplaced)]);
    assert_eq!(outcome(&past, 1), Some((OperationKind::Create, Outcome::Failed)));
    assert_eq!(outcome(&past, 3), Some((OperationKind::Delete, Outcome::Succeeded)));
}

/// Nobody asked for it, so nobody waits for it; and what was done before stays done.
#[test]
fn what_happens_by_itself_is_no_operation() {
    assert_eq!(outcome(&past::recovering(), 3), None);
    let late = with(past::recovering(), [failed(1, setback(A, FailureReason::Late), None)]);
    assert_eq!(outcome(&late, 4), None);
    assert_eq!(outcome(&late, 1), Some((OperationKind::Create, Outcome::Succeeded)));
    let healed = with(past::failed(), [observed(2, Phase::Stopped, 2)]);
    assert_eq!(outcome(&healed, 3), Some((OperationKind::Stop, Outcome::Failed)), "who waited was told so");
    assert_eq!(outcome(&healed, 5), None);
    let released = with(past::abandoned(), [released(A, 1)]);
    assert_eq!(outcome(&released, 5), None);
}
