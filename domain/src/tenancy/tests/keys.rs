//! The keys that may log in to an instance.

use super::fixtures::*;
use crate::aggregate::Command as _;
use crate::ids::UserId;
use crate::tenancy::event::{KeysChanged, TenancyEvent};
use crate::tenancy::{KeysRejected, RemoveInstanceKey, SetInstanceKeys, Tenancy, desired_assignments};
use crate::testing::given;
use crate::wire::{AuthorizedKeys, DesiredState};

const OTHER: &str = "ssh-ed25519 BBBB ada@desktop";

fn set(keys: &[&str]) -> SetInstanceKeys {
    SetInstanceKeys { instance_id: WEB, keys: keys.iter().map(|key| (*key).to_owned()).collect() }
}

fn changed(keys: &[&str]) -> TenancyEvent {
    let keys = keys.iter().map(|key| (*key).to_owned().into()).collect();
    TenancyEvent::KeysChanged(KeysChanged { instance_id: WEB, keys })
}

fn remove(key: &str) -> RemoveInstanceKey {
    RemoveInstanceKey { instance_id: WEB, key: key.to_owned() }
}

fn assigned(tenancy: &Tenancy) -> Option<AuthorizedKeys> {
    let assignments =
        desired_assignments(UserId::from_uuid(uuid::Uuid::from_u128(7)), WEB, tenancy.instance(WEB).unwrap());
    assignments[&A].container.as_ref().unwrap().authorized_keys.clone()
}

#[test]
fn keys_changed_are_assigned_with_a_higher_version_and_the_same_generation() {
    let tenancy = given([TenancyEvent::Requested(requested(WEB, "web"))]);
    assert_eq!(assigned(&tenancy.state), None, "agents of earlier releases know one key only");
    let tenancy = tenancy
        .when(set(&[SSH_KEY]))
        .then_nothing()
        .when(set(&[SSH_KEY, OTHER]))
        .then(changed(&[SSH_KEY, OTHER]))
        .when(remove("ssh-ed25519 BBBB another comment"))
        .then(changed(&[SSH_KEY]))
        .when(remove(OTHER))
        .then_nothing()
        .when(remove(SSH_KEY))
        .then(changed(&[]))
        .when(set(&[OTHER]))
        .then(changed(&[OTHER]));
    let keys = vec!["ssh-ed25519 BBBB".to_owned()];
    assert_eq!(assigned(&tenancy.state), Some(AuthorizedKeys { version: 4, keys }), "without the comment");
    let instance = tenancy.state.instance(WEB).unwrap();
    assert_eq!((instance.generation, instance.placement), (1, 1));
}

#[test]
fn keys_requested_first_are_all_assigned() {
    let mut several = requested(WEB, "web");
    several.further_keys = vec![OTHER.to_owned().into()];
    let tenancy = given([TenancyEvent::Requested(several)]);
    let keys = assigned(&tenancy.state).unwrap();
    assert_eq!((keys.version, keys.keys.len(), keys.keys[1].as_str()), (0, 2, "ssh-ed25519 BBBB"));
}

#[test]
fn keys_of_an_instance_that_is_deleted_or_unknown_are_not_changed() {
    given([]).when(set(&[OTHER])).then_rejected(KeysRejected::NotFound);
    let tenancy = given([TenancyEvent::Requested(requested(WEB, "web"))]);
    let delete = change(WEB, DesiredState::Deleted, 1).decide(&tenancy.state).unwrap().unwrap();
    tenancy.and([delete]).when(set(&[OTHER])).then_rejected(KeysRejected::Deleting);
}
