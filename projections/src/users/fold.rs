//! The fold of `users`. The document of an erased user is kept without personal values.

use dockhost_domain::account::{AccountEvent, Role, email_address};
use dockhost_domain::envelope::{Envelope, RecordedEvent};
use dockhost_domain::event::Event;
use dockhost_domain::ids::UserId;
use dockhost_domain::subject::AggregateId;

use super::{UserDocument, Users};
use crate::model::ReadModel;

impl ReadModel for Users {
    const KIND: &'static str = "account";

    fn keys(event: &Envelope) -> Vec<UserId> {
        if let AggregateId::Account(id) = event.aggregate { vec![id] } else { Vec::new() }
    }

    fn fold(id: UserId, document: Option<UserDocument>, recorded: &RecordedEvent) -> Option<UserDocument> {
        match &recorded.envelope.event {
            Event::Account(AccountEvent::Created(created)) => Some(UserDocument {
                user_id: id,
                username: created.username.plain().cloned(),
                email: email_address(&created.email).cloned(),
                role: created.role,
                created_at: recorded.envelope.meta.time,
                ssh_public_key: created.ssh_public_key.as_ref().and_then(|key| key.plain().cloned()),
                disabled_at: None,
                disabled_reason: None,
                group_id: created.group_id,
                seq: recorded.sequence,
            }),
            Event::Account(AccountEvent::RoleChanged(changed)) => {
                document.map(|user| UserDocument { role: changed.role, ..user })
            }
            Event::Account(AccountEvent::GroupChanged(changed)) => {
                document.map(|user| UserDocument { group_id: changed.group_id, ..user })
            }
            Event::Account(
                AccountEvent::PasswordChanged(_)
                | AccountEvent::PasswordResetIssued(_)
                | AccountEvent::KeyAdded(_)
                | AccountEvent::KeyRemoved(_),
            ) => document,
            Event::Account(AccountEvent::ProfileChanged(changed)) => document.map(|user| UserDocument {
                email: email_address(&changed.email).cloned(),
                ssh_public_key: changed.ssh_public_key.as_ref().and_then(|key| key.plain().cloned()),
                ..user
            }),
            Event::Account(AccountEvent::Disabled(disabled)) => document.map(|user| UserDocument {
                role: Role::User,
                disabled_at: Some(recorded.envelope.meta.time),
                disabled_reason: disabled.reason.as_ref().and_then(|reason| reason.plain().cloned()),
                ..user
            }),
            Event::Account(AccountEvent::Enabled(_)) => {
                document.map(|user| UserDocument { disabled_at: None, disabled_reason: None, ..user })
            }
            Event::Account(AccountEvent::Erased(_)) => document.map(|user| UserDocument {
                username: None,
                email: None,
                ssh_public_key: None,
                role: Role::User,
                disabled_at: None,
                disabled_reason: None,
                group_id: None,
                ..user
            }),
            Event::Administrators(_)
            | Event::Claim(_)
            | Event::Session(_)
            | Event::Backend(_)
            | Event::EnrolmentTokens(_)
            | Event::Invitations(_)
            | Event::Groups(_)
            | Event::Refusals(_)
            | Event::Webhooks(_)
            | Event::Tenancy(_) => document,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Folded;
    use crate::testing::events::{account, at, created, erased, role_changed, uuid};
    use crate::users::UserState;
    use dockhost_domain::account::{Disabled, DisabledInstances, Enabled, GroupChanged, ProfileChanged};
    use dockhost_domain::ids::GroupId;
    use dockhost_domain::personal::Personal;
    use serde_json::json;

    #[test]
    fn users_fold_created_account_has_no_verifier() {
        let mut users = Folded::<Users>::default();
        users.fold(&account(3, 1, created("ada")));
        let form = serde_json::to_value(users.get(UserId::from_uuid(uuid(1))).unwrap()).unwrap();
        let expected = json!({
            "_id": "00000000-0000-0000-0000-000000000001", "username": "ada", "email": "ada@example.org",
            "role": "user", "createdAt": "1970-01-01T00:00:03.000Z", "sshPublicKey": "ssh-ed25519 AAAA",
            "disabledAt": null, "disabledReason": null, "groupId": null, "seq": 3,
        });
        assert_eq!(form, expected);
    }

    #[test]
    fn users_fold_changed_role_is_the_last_one() {
        let mut users = Folded::<Users>::default();
        users.fold(&account(3, 1, created("ada")));
        for (sequence, role) in [(4, Role::Admin), (5, Role::User), (6, Role::Admin)] {
            users.fold(&account(sequence, 1, role_changed(role)));
            let user = users.get(UserId::from_uuid(uuid(1))).unwrap();
            assert_eq!((user.role, user.seq), (role, sequence));
        }
    }

    #[test]
    fn users_fold_disabled_account_has_the_reason_until_it_is_enabled() {
        let mut users = Folded::<Users>::default();
        users.fold(&account(3, 1, created("ada")));
        users.fold(&account(4, 1, role_changed(Role::Admin)));
        let reason = Some("The course is over.".to_owned().into());
        let disabled = Disabled { reason, instances: DisabledInstances::Stop };
        users.fold(&account(5, 1, AccountEvent::Disabled(disabled)));
        let user = users.get(UserId::from_uuid(uuid(1))).unwrap();
        assert_eq!((user.state(), user.role), (UserState::Disabled, Role::User));
        assert_eq!((user.disabled_at, user.disabled_reason.as_deref()), (Some(at(5)), Some("The course is over.")));
        users.fold(&account(6, 1, AccountEvent::Enabled(Enabled {})));
        let user = users.get(UserId::from_uuid(uuid(1))).unwrap();
        assert_eq!((user.state(), user.disabled_at, &user.disabled_reason), (UserState::Active, None, &None));
    }

    #[test]
    fn users_fold_changed_group_is_the_last_one() {
        let mut users = Folded::<Users>::default();
        users.fold(&account(3, 1, created("ada")));
        for (sequence, group_id) in [(4, Some(uuid(7))), (5, Some(uuid(8))), (6, None)] {
            let group_id = group_id.map(GroupId::from_uuid);
            users.fold(&account(sequence, 1, AccountEvent::GroupChanged(GroupChanged { group_id })));
            assert_eq!(users.get(UserId::from_uuid(uuid(1))).unwrap().group_id, group_id);
        }
    }

    /// An administrator whom the operator created has none.
    #[test]
    fn users_fold_changed_profile_without_an_address_still_has_none() {
        let AccountEvent::Created(mut without_email) = created("ada") else { unreachable!() };
        without_email.email = String::new().into();
        let mut users = Folded::<Users>::default();
        users.fold(&account(3, 1, AccountEvent::Created(without_email)));
        let ssh_public_key = Some("ssh-ed25519 BBBB".to_owned().into());
        let changed = ProfileChanged { email: String::new().into(), ssh_public_key };
        users.fold(&account(5, 1, AccountEvent::ProfileChanged(changed)));
        let user = users.get(UserId::from_uuid(uuid(1))).unwrap();
        assert_eq!((user.email.as_deref(), user.ssh_public_key.as_deref()), (None, Some("ssh-ed25519 BBBB")));
    }

    /// Whether the events are folded with the key or after it was destroyed, the document is the same.
    #[test]
    fn users_fold_erased_account_has_no_personal_values() {
        let AccountEvent::Created(mut without_key) = created("ada") else { unreachable!() };
        without_key.username = Personal::Erased;
        without_key.email = Personal::Erased;
        without_key.ssh_public_key = Some(Personal::Erased);
        let ends = [created("ada"), AccountEvent::Created(without_key)].map(|created| {
            let mut users = Folded::<Users>::default();
            users.fold(&account(3, 1, created));
            users.fold(&account(5, 1, erased()));
            serde_json::to_value(users.get(UserId::from_uuid(uuid(1))).unwrap()).unwrap()
        });
        let expected = json!({
            "_id": "00000000-0000-0000-0000-000000000001", "username": null, "email": null,
            "role": "user", "createdAt": "1970-01-01T00:00:03.000Z", "sshPublicKey": null,
            "disabledAt": null, "disabledReason": null, "groupId": null, "seq": 5,
        });
        assert_eq!(ends, [expected.clone(), expected]);
    }
}
