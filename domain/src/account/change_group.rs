//! Puts a user into a group, or takes them out.

use super::{Account, AccountEvent, GroupChanged, NoSuchAccount};
use crate::aggregate::{Command, CommandClass};

/// Change the group of a user; nothing if they are in it. Whoever runs this knows that there is such a group.
#[derive(Debug, Clone, Copy)]
pub struct ChangeUserGroup(pub GroupChanged);

impl Command for ChangeUserGroup {
    type Aggregate = Account;
    type Rejection = NoSuchAccount;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Account) -> Result<Option<AccountEvent>, NoSuchAccount> {
        let profile = state.profile.as_ref().ok_or(NoSuchAccount)?;
        Ok((profile.group != self.0.group_id).then_some(AccountEvent::GroupChanged(self.0)))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::account::create::tests::details;
    use crate::ids::GroupId;
    use crate::testing::given;

    #[test]
    fn account_is_in_one_group_at_most() {
        let group = |n| GroupChanged { group_id: Some(GroupId::from_uuid(Uuid::from_u128(n))) };
        let none = GroupChanged { group_id: None };
        given([]).when(ChangeUserGroup(group(1))).then_rejected(NoSuchAccount);
        let account = given([AccountEvent::Created(details("ada"))])
            .when(ChangeUserGroup(none))
            .then_nothing()
            .when(ChangeUserGroup(group(1)))
            .then(AccountEvent::GroupChanged(group(1)))
            .when(ChangeUserGroup(group(1)))
            .then_nothing()
            .when(ChangeUserGroup(group(2)))
            .then(AccountEvent::GroupChanged(group(2)));
        assert_eq!(account.state.profile.as_ref().unwrap().group, group(2).group_id);
        let account = account.when(ChangeUserGroup(none)).then(AccountEvent::GroupChanged(none));
        assert_eq!(account.state.profile.unwrap().group, None);
    }
}
