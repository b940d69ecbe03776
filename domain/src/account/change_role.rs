//! Changes the role of a user. Whoever runs this also changes the set of administrators, in the same batch.

use super::{Account, AccountEvent, Role, RoleChanged};
use crate::aggregate::{Command, CommandClass};

/// Give an account a role; nothing if it has it.
#[derive(Debug, Clone, Copy)]
pub struct ChangeRole {
    /// The role.
    pub to: Role,
}

/// Why an account does not get a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RoleRejected {
    /// The account was never created, or its user was erased.
    #[error("the account does not exist")]
    NoSuchAccount,
    /// A disabled account can't become an administrator's.
    #[error("the account is disabled; enable it first")]
    Disabled,
}

impl Command for ChangeRole {
    type Aggregate = Account;
    type Rejection = RoleRejected;

    fn class(&self) -> CommandClass {
        match self.to {
            Role::Admin => CommandClass::Growth,
            Role::User => CommandClass::Essential,
        }
    }

    fn decide(&self, state: &Account) -> Result<Option<AccountEvent>, RoleRejected> {
        let profile = state.profile.as_ref().ok_or(RoleRejected::NoSuchAccount)?;
        if self.to == Role::Admin && profile.disabled.is_some() {
            return Err(RoleRejected::Disabled);
        }
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
        given([]).when(ChangeRole { to: Role::Admin }).then_rejected(RoleRejected::NoSuchAccount);
        let erased = AccountEvent::Erased(Erased { by: ErasedBy::Operator });
        let account = given([AccountEvent::Created(details("ada")), changed(Role::Admin), erased])
            .when(ChangeRole { to: Role::Admin })
            .then_rejected(RoleRejected::NoSuchAccount);
        assert!(!account.state.is_admin());
    }
}
