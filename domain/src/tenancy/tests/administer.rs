//! Changes by administrators.

use super::fixtures::*;
use crate::personal::Personal;
use crate::tenancy::event::{Administered, DeletionOutcome, TenancyEvent};
use crate::tenancy::{AdministerInstance, ChangeRejected, Progress};
use crate::testing::{at, given};
use crate::wire::DesiredState;

fn administer(wanted: DesiredState, now: i64) -> AdministerInstance {
    AdministerInstance { change: change(WEB, wanted, now), reason: Some("mining".to_owned()) }
}

fn administered(wanted: DesiredState, generation: u32, deadline: i64) -> TenancyEvent {
    let (deadline, reason) = (at(deadline), Some("mining".to_owned().into()));
    TenancyEvent::Administered(Administered { instance_id: WEB, wanted, generation, deadline, reason })
}

#[test]
fn instance_administered_changes_like_by_its_owner_and_has_the_reason() {
    let tenancy = given(history::running())
        .when(administer(DesiredState::Stopped, 100))
        .then(administered(DesiredState::Stopped, 2, 130))
        .when(administer(DesiredState::Stopped, 101))
        .then_nothing();
    let instance = tenancy.state.instance(WEB).unwrap();
    assert_eq!((instance.desired, instance.generation), (DesiredState::Stopped, 2));
    assert!(matches!(instance.progress, Progress::Pending { deadline, .. } if deadline == at(130)));
    let note = instance.administered.as_ref().unwrap();
    assert_eq!((note.wanted, &note.reason), (DesiredState::Stopped, &Some("mining".to_owned().into())));
    // The owner's next change ends it.
    let tenancy = tenancy
        .when(change(WEB, DesiredState::Running, 200))
        .then(TenancyEvent::ResumeRequested(change_requested(3, 230)));
    assert_eq!(tenancy.state.instance(WEB).unwrap().administered, None);
}

#[test]
fn instance_administered_is_rejected_like_by_its_owner() {
    given(history::deleting()).when(administer(DesiredState::Stopped, 100)).then_rejected(ChangeRejected::Deleting);
    given(history::never_created())
        .when(administer(DesiredState::Running, 100))
        .then_rejected(ChangeRejected::NeverCreated);
    given([]).when(administer(DesiredState::Deleted, 100)).then_rejected(ChangeRejected::NotFound);
}

#[test]
fn instance_administered_and_deleted_has_no_reason_once_its_values_are_erased() {
    let mut instance = given(history::running())
        .when(administer(DesiredState::Deleted, 100))
        .then(administered(DesiredState::Deleted, 2, 130))
        .and([deleted(2, DeletionOutcome::Confirmed { backend_id: A })])
        .state
        .instance(WEB)
        .unwrap()
        .clone();
    instance.erase_personal_values();
    assert_eq!(instance.administered.unwrap().reason, Some(Personal::Erased));
}
