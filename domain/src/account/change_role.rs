//! Changes the role of a user. Whoever runs this also changes the set of administrators, in the same batch.

use super::{Account, AccountEvent, NoSuchAccount, Role, RoleChanged};
use crate::aggregate::{Command, CommandClass};

/// Give an account a role; nothing if it has it.
#[derive(Debug, Clone, Copy)]
pub struct ChangeRole {
    /// The role.
    pub to: Role,
}

impl Command for ChangeRole {
    type Aggregate = Account;
    type Rejection = NoSuchAccount;

    fn class(&self) -> CommandClass {
        match self.to {
            Role::Admin => CommandClass::Growth,
            Role::User => CommandClass::Essential,
        }
    }

    fn decide(&self, state: &Account) -> Result<Option<AccountEvent>, NoSuchAccount> {
        let profile = state.profile.as_ref().ok_or(NoSuchAccount)?;
        let changed = AccountEvent::RoleChanged(RoleChanged { role: self.to });
        Ok((profile.role != self.to).then_some(changed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::create::tests::details;
    use crate::account::{Erased, ErasedBy};
    use crate::testing::given;

    fn changed(role: Role) -> AccountEvent {
        AccountEvent::RoleChanged(RoleChanged { role })
    }

    #[test]
    fn account_role_is_granted_and_taken_once() {
        let account = given([AccountEvent::Created(details("ada"))])
            .when(ChangeRole { to: Role::User })
            .then_nothing()
            .when(ChangeRole { to: Role::Admin })
            .then(changed(Role::Admin))
            .when(ChangeRole { to: Role::Admin })
            .then_nothing();
        assert!(account.state.is_admin());
        let account = account.when(ChangeRole { to: Role::User }).then(changed(Role::User));
        assert!(!account.state.is_admin());
    }

    #[test]
    fn role_as_str_is_its_form_in_events() {
        for role in [Role::User, Role::Admin] {
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
    }

    #[test]
    fn account_unknown_or_erased_gets_no_role() {
        given([]).when(ChangeRole { to: Role::Admin }).then_rejected(NoSuchAccount);
        let erased = AccountEvent::Erased(Erased { by: ErasedBy::Operator });
        let account = given([AccountEvent::Created(details("ada")), changed(Role::Admin), erased])
            .when(ChangeRole { to: Role::Admin })
            .then_rejected(NoSuchAccount);
        assert!(!account.state.is_admin());
    }
}
