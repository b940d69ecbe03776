//! A timer fires: every transient state ends, and nothing else is touched.

use super::build::*;
use crate::tenancy::event::{DeletionOutcome, FailureReason, TenancyEvent};
use crate::tenancy::{DeadlineRejected, HandleDeadline, Policy, Tenancy};
use crate::testing::{at, given};

fn late() -> crate::tenancy::event::PlacementFailure {
    setback(A, FailureReason::Late)
}

#[test]
fn before_its_time_a_timer_is_told_when_to_come_back() {
    let too_early = |seconds| DeadlineRejected::TooEarly { deadline: at(seconds) };
    given(past::creating()).when(deadline(1, 14)).then_rejected(too_early(15));
    given(past::stopping()).when(deadline(2, 39)).then_rejected(too_early(40));
    given(past::recovering()).when(deadline(1, 15)).then_rejected(too_early(50));
}

#[test]
fn a_late_create_goes_to_another_machine_and_fails_when_that_is_late_too() {
    let by_a = setback(A, FailureReason::Late);
    given(past::creating())
        .when(deadline(1, 15))
        .then(placed(2, choice(B, 2), by_a, at(15 + 15)))
        .when(deadline(1, 29))
        .then_rejected(DeadlineRejected::TooEarly { deadline: at(30) })
        .when(deadline(1, 30))
        .then(given_up(1, setback(B, FailureReason::Late), None));
}

#[test]
fn a_late_create_without_another_machine_fails() {
    for others in [&[][..], &[A]] {
        let command = HandleDeadline { facts: facts_with(15, others), ..deadline(1, 15) };
        given(past::creating()).when(command).then(given_up(1, late(), None));
    }
}

#[test]
fn only_as_many_may_be_late_as_the_policy_says() {
    let mut command = deadline(1, 15);
    command.facts.policy = Policy { max_late_backends: 1, ..Policy::default() };
    given(past::creating()).when(command).then(given_up(1, late(), None));
}

/// It was never seen, so it may as well be stopped elsewhere.
#[test]
fn a_late_stop_of_what_was_never_seen_goes_to_another_machine() {
    let stop = TenancyEvent::StopRequested(change_requested(2, 40));
    given(past::creating()).and([stop]).when(deadline(2, 40)).then(placed(2, choice(B, 2), late(), at(40 + 15)));
}

#[test]
fn late_steps_of_a_container_fail_and_keep_it() {
    given(past::stopping()).when(deadline(2, 40)).then(failed(2, late(), None));
    given(past::resuming()).when(deadline(3, 60)).then(failed(3, late(), None));
    given(past::recovering()).when(deadline(1, 50)).then(failed(1, late(), None));
}

#[test]
fn a_late_delete_is_done_for_its_user() {
    let tenancy =
        given(past::deleting()).when(deadline(2, 40)).then(deleted(2, DeletionOutcome::Abandoned { backend_id: A }));
    let instance = tenancy.state.instance(WEB).unwrap();
    assert!(instance.is_deleted());
    assert_eq!(instance.pending_removals.get(&A), Some(&1), "the machine is told when it comes back");
}

#[test]
fn a_timer_of_another_generation_does_not_count() {
    given(past::stopping()).when(deadline(1, 1000)).then_nothing();
    given(past::stopping()).when(deadline(3, 1000)).then_nothing();
}

#[test]
fn a_timer_of_a_state_that_has_ended_does_not_count() {
    let ended = [
        (past::running(), 1),
        (past::stopped(), 2),
        (past::failed(), 2),
        (past::never_created(), 1),
        (past::deleted(), 2),
        (past::abandoned(), 2),
    ];
    for (past, generation) in ended {
        given(past).when(deadline(generation, 1000)).then_nothing();
    }
    given::<Tenancy>([]).when(deadline(1, 1000)).then_nothing();
}
