//! The outcomes of operations. An operation has the id of the event that began it.

use super::fixtures::*;
use crate::tenancy::event::{Administered, DeletionOutcome, FailureReason, TenancyEvent};
use crate::tenancy::{Operation, OperationKind, Outcome, Tenancy};
use crate::testing::{at, event_id, given};
use crate::wire::{DesiredState, Phase};

/// The operation that the `n`th event began.
fn outcome(history: &[TenancyEvent], n: u128) -> Option<(OperationKind, Outcome)> {
    let tenancy = given::<Tenancy>(history.to_vec()).state;
    let operation: Option<&Operation> = tenancy.operation(event_id(n).into());
    operation.map(|operation| {
        assert_eq!(operation.instance_id, WEB);
        (operation.kind, operation.outcome.clone())
    })
}

fn with(history: Vec<TenancyEvent>, more: impl IntoIterator<Item = TenancyEvent>) -> Vec<TenancyEvent> {
    history.into_iter().chain(more).collect()
}

#[test]
fn operation_create_ends_when_the_instance_runs_or_fails() {
    assert_eq!(outcome(&history::creating(), 1), Some((OperationKind::Create, Outcome::Pending)));
    assert_eq!(outcome(&history::running(), 1), Some((OperationKind::Create, Outcome::Succeeded)));
    assert_eq!(outcome(&history::never_created(), 1), Some((OperationKind::Create, Outcome::Failed)));
}

#[test]
fn operation_create_continues_after_another_placement() {
    let placed = with(history::creating(), [placed(2, choice(B, 2), refusal(A, "no_ports"), at(30))]);
    assert_eq!(outcome(&placed, 1), Some((OperationKind::Create, Outcome::Pending)));
    assert_eq!(outcome(&placed, 2), None);
}

#[test]
fn operation_of_each_request_is_separate() {
    assert_eq!(outcome(&history::stopping(), 3), Some((OperationKind::Stop, Outcome::Pending)));
    assert_eq!(outcome(&history::stopped(), 3), Some((OperationKind::Stop, Outcome::Succeeded)));
    assert_eq!(outcome(&history::resuming(), 5), Some((OperationKind::Resume, Outcome::Pending)));
    assert_eq!(outcome(&history::failed(), 3), Some((OperationKind::Stop, Outcome::Failed)));
    assert_eq!(outcome(&history::deleting(), 3), Some((OperationKind::Delete, Outcome::Pending)));
    assert_eq!(outcome(&history::deleted(), 3), Some((OperationKind::Delete, Outcome::Succeeded)));
    assert_eq!(outcome(&history::abandoned(), 3), Some((OperationKind::Delete, Outcome::Succeeded)));
}

#[test]
fn operation_pending_is_superseded_by_a_new_one() {
    let stop = TenancyEvent::StopRequested(change_requested(2, 40));
    let history = with(history::creating(), [stop, TenancyEvent::DeleteRequested(change_requested(3, 50))]);
    assert_eq!(outcome(&history, 1), Some((OperationKind::Create, Outcome::Superseded)));
    assert_eq!(outcome(&history, 2), Some((OperationKind::Stop, Outcome::Superseded)));
    assert_eq!(outcome(&history, 3), Some((OperationKind::Delete, Outcome::Pending)));
}

#[test]
fn operation_delete_without_a_placement_succeeds_at_once() {
    let history = with(history::never_created(), [deleted(2, DeletionOutcome::Unplaced)]);
    assert_eq!(outcome(&history, 1), Some((OperationKind::Create, Outcome::Failed)));
    assert_eq!(outcome(&history, 3), Some((OperationKind::Delete, Outcome::Succeeded)));
}

#[test]
fn operation_begun_by_an_event_is_the_one_with_its_id() {
    let administered = TenancyEvent::Administered(Administered {
        instance_id: WEB,
        wanted: DesiredState::Stopped,
        generation: 2,
        deadline: at(40),
        reason: None,
    });
    for history in [
        history::deleted(),
        history::resuming(),
        history::recovering(),
        with(history::running(), [administered]),
        with(history::creating(), [placed(2, choice(B, 2), refusal(A, "no_ports"), at(30))]),
        with(history::never_created(), [deleted(2, DeletionOutcome::Unplaced)]),
    ] {
        for (n, event) in (1..).zip(&history) {
            let kind = outcome(&history, n).map(|(kind, _)| kind);
            assert_eq!(OperationKind::begun_by(event), kind, "{event:?}");
        }
    }
}

/// An ended operation keeps its outcome.
#[test]
fn operation_does_not_begin_without_a_request() {
    assert_eq!(outcome(&history::recovering(), 3), None);
    let late = with(history::recovering(), [failed(1, failure(A, FailureReason::Late), None)]);
    assert_eq!(outcome(&late, 4), None);
    assert_eq!(outcome(&late, 1), Some((OperationKind::Create, Outcome::Succeeded)));
    let recovered = with(history::failed(), [observed(2, Phase::Stopped, 2)]);
    assert_eq!(
        outcome(&recovered, 3),
        Some((OperationKind::Stop, Outcome::Failed)),
        "its outcome was reported already"
    );
    assert_eq!(outcome(&recovered, 5), None);
    let released = with(history::abandoned(), [released(A, 1)]);
    assert_eq!(outcome(&released, 5), None);
}
