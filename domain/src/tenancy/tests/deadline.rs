//! A fired timer ends a transitional state and changes nothing else.

use super::fixtures::*;
use crate::tenancy::event::{DeletionOutcome, FailureReason, PlacementFailure, TenancyEvent};
use crate::tenancy::{DeadlineRejected, HandleDeadline, Policy, Tenancy};
use crate::testing::{at, given};
use crate::wire::Phase;

fn late() -> PlacementFailure {
    failure(A, FailureReason::Late)
}

#[test]
fn deadline_too_early_is_rejected_with_the_current_one() {
    let too_early = |seconds| DeadlineRejected::TooEarly { deadline: at(seconds) };
    given(history::creating()).when(deadline(1, 14)).then_rejected(too_early(15));
    given(history::stopping()).when(deadline(2, 39)).then_rejected(too_early(40));
    given(history::recovering()).when(deadline(1, 15)).then_rejected(too_early(50));
}

#[test]
fn deadline_of_a_create_places_again_and_then_fails() {
    given(history::creating())
        .when(deadline(1, 15))
        .then(placed(2, choice(B, 2), late(), at(15 + 15)))
        .when(deadline(1, 29))
        .then_rejected(DeadlineRejected::TooEarly { deadline: at(30) })
        .when(deadline(1, 30))
        .then(failed_unplaced(1, failure(B, FailureReason::Late), None));
}

#[test]
fn deadline_of_a_create_without_another_candidate_fails() {
    for others in [&[][..], &[A]] {
        let command = HandleDeadline { facts: facts_with(15, others), ..deadline(1, 15) };
        given(history::creating()).when(command).then(failed_unplaced(1, late(), None));
    }
}

#[test]
fn deadline_at_the_limit_of_late_backends_fails() {
    let mut command = deadline(1, 15);
    command.facts.policy = Policy { max_late_backends: 1, ..Policy::default() };
    given(history::creating()).when(command).then(failed_unplaced(1, late(), None));
}

/// A container that has never run has no files, so it may be left behind.
#[test]
fn deadline_of_a_create_with_a_container_that_never_ran_places_again() {
    let tenancy = given(history::created()).when(deadline(1, 15)).then(placed(2, choice(B, 2), late(), at(15 + 15)));
    let instance = tenancy.state.instance(WEB).unwrap();
    assert_eq!(instance.pending_removals, [(A, 1)].into(), "its container must be removed");
    assert_eq!(instance.last_observation(), None);
}

/// A report about no assignment: the agent was restarted after it had started the container.
#[test]
fn deadline_of_a_create_with_a_container_that_runs_keeps_the_placement() {
    given(history::creating()).and([observed(0, Phase::Running, 1)]).when(deadline(1, 15)).then(failed(
        1,
        late(),
        None,
    ));
}

/// The container may still start, and a resume may help.
#[test]
fn deadline_of_a_create_with_a_container_and_no_other_candidate_keeps_the_placement() {
    let command = HandleDeadline { facts: facts_with(15, &[A]), ..deadline(1, 15) };
    given(history::created()).when(command).then(failed(1, late(), None));
}

/// Without an observed container, the instance can be stopped on another backend.
#[test]
fn deadline_of_a_stop_without_a_container_places_again() {
    let stop = TenancyEvent::StopRequested(change_requested(2, 40));
    given(history::creating()).and([stop]).when(deadline(2, 40)).then(placed(2, choice(B, 2), late(), at(40 + 15)));
}

#[test]
fn deadline_with_a_container_fails_and_keeps_the_placement() {
    given(history::stopping()).when(deadline(2, 40)).then(failed(2, late(), None));
    given(history::resuming()).when(deadline(3, 60)).then(failed(3, late(), None));
    given(history::recovering()).when(deadline(1, 50)).then(failed(1, late(), None));
}

#[test]
fn deadline_of_a_deletion_deletes_for_the_user() {
    let tenancy =
        given(history::deleting()).when(deadline(2, 40)).then(deleted(2, DeletionOutcome::Abandoned { backend_id: A }));
    let instance = tenancy.state.instance(WEB).unwrap();
    assert!(instance.is_deleted());
    assert_eq!(instance.pending_removals.get(&A), Some(&1), "the assignment to remove the container remains");
}

#[test]
fn deadline_of_another_generation_is_ignored() {
    given(history::stopping()).when(deadline(1, 1000)).then_nothing();
    given(history::stopping()).when(deadline(3, 1000)).then_nothing();
}

#[test]
fn deadline_of_an_ended_state_is_ignored() {
    let ended = [
        (history::running(), 1),
        (history::stopped(), 2),
        (history::failed(), 2),
        (history::never_created(), 1),
        (history::deleted(), 2),
        (history::abandoned(), 2),
    ];
    for (history, generation) in ended {
        given(history).when(deadline(generation, 1000)).then_nothing();
    }
    given::<Tenancy>([]).when(deadline(1, 1000)).then_nothing();
}
