//! A backend is lost: an instance without a container is placed on another one.

use super::fixtures::*;
use crate::ids::BackendId;
use crate::tenancy::event::{FailureReason, TenancyEvent};
use crate::tenancy::{HandleBackendLost, Tenancy};
use crate::testing::{at, given};

fn lost(backend_id: BackendId) -> HandleBackendLost {
    HandleBackendLost { backend_id, instance_id: WEB, facts: facts_with(10, &[B, C]) }
}

#[test]
fn backend_lost_without_a_container_places_again() {
    given(history::creating()).when(lost(A)).then(placed(2, choice(B, 2), failure(A, FailureReason::Lost), at(25)));
}

/// Only missed deadlines make the user wait, so only they are limited.
#[test]
fn backend_lost_does_not_count_as_late() {
    given(history::creating())
        .when(lost(A))
        .then(placed(2, choice(B, 2), failure(A, FailureReason::Lost), at(25)))
        .when(lost(B))
        .then(placed(3, choice(C, 1), failure(B, FailureReason::Lost), at(25)))
        .when(lost(C))
        .then(failed_unplaced(1, failure(C, FailureReason::Lost), None));
}

#[test]
fn backend_lost_with_a_container_changes_nothing() {
    let observed_but_pending =
        history::creating().into_iter().chain([observed(1, crate::wire::Phase::Stopped, 1)]).collect();
    for history in [
        history::running(),
        history::recovering(),
        history::stopping(),
        history::stopped(),
        history::failed(),
        observed_but_pending,
    ] {
        given(history).when(lost(A)).then_nothing();
    }
}

#[test]
fn backend_lost_during_a_deletion_changes_nothing() {
    let delete = TenancyEvent::DeleteRequested(change_requested(2, 40));
    given(history::creating()).and([delete]).when(lost(A)).then_nothing();
    given(history::deleted()).when(lost(A)).then_nothing();
    given(history::abandoned()).when(lost(A)).then_nothing();
}

#[test]
fn backend_lost_without_the_placement_changes_nothing() {
    given(history::creating()).when(lost(B)).then_nothing();
    given(history::never_created()).when(lost(A)).then_nothing();
    given::<Tenancy>([]).when(lost(A)).then_nothing();
}
