//! A backend is removed from the fleet: nothing stays on it.

use super::fixtures::*;
use crate::ids::BackendId;
use crate::tenancy::event::{Deleted, DeletionOutcome, Failed, FailureReason, TenancyEvent};
use crate::tenancy::{ChangeRejected, HandleBackendRemoved, Tenancy};
use crate::testing::{at, given};
use crate::wire::DesiredState;

fn removed(backend_id: BackendId) -> HandleBackendRemoved {
    HandleBackendRemoved { backend_id, instance_id: WEB, facts: facts_with(10, &[B, C]) }
}

#[test]
fn backend_removed_without_a_container_places_again() {
    given(history::creating()).when(removed(A)).then(placed(
        2,
        choice(B, 2),
        failure(A, FailureReason::Removed),
        at(25),
    ));
}

#[test]
fn backend_removed_with_a_container_fails_the_instance_and_leaves_its_removal() {
    for history in
        [history::running(), history::recovering(), history::stopping(), history::stopped(), history::failed()]
    {
        let generation = given::<Tenancy>(history.clone()).state.instance(WEB).unwrap().generation;
        let failed = TenancyEvent::Failed(Failed {
            instance_id: WEB,
            generation,
            failure: failure(A, FailureReason::Removed),
            abandons_placement: true,
            report: None,
        });
        let tenancy = given(history).when(removed(A)).then(failed).when(removed(A)).then_nothing();
        let instance = tenancy.state.instance(WEB).unwrap();
        assert_eq!(instance.current_placement, None);
        assert_eq!(instance.pending_removals, [(A, 1)].into(), "its agent removes the container if it returns");
        let tenancy = tenancy.when(change(WEB, DesiredState::Running, 50)).then_rejected(ChangeRejected::NeverCreated);
        let outcome = DeletionOutcome::Unplaced;
        let deleted = Deleted { instance_id: WEB, generation: generation + 1, outcome };
        tenancy.when(change(WEB, DesiredState::Deleted, 50)).then(TenancyEvent::Deleted(deleted));
    }
}

#[test]
fn backend_removed_during_a_deletion_completes_it() {
    let delete = TenancyEvent::DeleteRequested(change_requested(2, 40));
    let outcome = DeletionOutcome::Abandoned { backend_id: A };
    let deleted = TenancyEvent::Deleted(Deleted { instance_id: WEB, generation: 2, outcome });
    given(history::running()).and([delete]).when(removed(A)).then(deleted).when(removed(A)).then_nothing();
    given(history::deleted()).when(removed(A)).then_nothing();
    given(history::abandoned()).when(removed(A)).then_nothing();
}

#[test]
fn backend_removed_without_the_placement_changes_nothing() {
    given(history::running()).when(removed(B)).then_nothing();
    given(history::never_created()).when(removed(A)).then_nothing();
    given::<Tenancy>([]).when(removed(A)).then_nothing();
}
