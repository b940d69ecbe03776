//! A machine is lost: what waits there for its first container goes elsewhere, what has one stays.

use super::build::*;
use crate::ids::BackendId;
use crate::tenancy::event::{FailureReason, TenancyEvent};
use crate::tenancy::{HandleBackendLost, Tenancy};
use crate::testing::{at, given};

fn gone(backend_id: BackendId) -> HandleBackendLost {
    HandleBackendLost { backend_id, instance_id: WEB, facts: facts_with(10, &[B, C]) }
}

#[test]
fn what_waits_for_its_first_container_goes_to_another_machine() {
    given(past::creating()).when(gone(A)).then(placed(2, choice(B, 2), setback(A, FailureReason::Lost), at(25)));
}

/// Only lateness costs the user time, so only lateness is counted against the create.
#[test]
fn losing_machines_is_not_being_late() {
    given(past::creating())
        .when(gone(A))
        .then(placed(2, choice(B, 2), setback(A, FailureReason::Lost), at(25)))
        .when(gone(B))
        .then(placed(3, choice(C, 1), setback(B, FailureReason::Lost), at(25)))
        .when(gone(C))
        .then(given_up(1, setback(C, FailureReason::Lost), None));
}

#[test]
fn what_has_a_container_stays_where_its_files_are() {
    let seen_but_not_done = past::creating().into_iter().chain([observed(1, crate::wire::Phase::Stopped, 1)]).collect();
    for past in
        [past::running(), past::recovering(), past::stopping(), past::stopped(), past::failed(), seen_but_not_done]
    {
        given(past).when(gone(A)).then_nothing();
    }
}

#[test]
fn a_deletion_waits_for_its_deadline() {
    let delete = TenancyEvent::DeleteRequested(change_requested(2, 40));
    given(past::creating()).and([delete]).when(gone(A)).then_nothing();
    given(past::deleted()).when(gone(A)).then_nothing();
    given(past::abandoned()).when(gone(A)).then_nothing();
}

#[test]
fn another_machine_is_nobodys_concern() {
    given(past::creating()).when(gone(B)).then_nothing();
    given(past::never_created()).when(gone(A)).then_nothing();
    given::<Tenancy>([]).when(gone(A)).then_nothing();
}
