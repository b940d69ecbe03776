//! Disables and enables an account. The caller also changes the set of administrators, the sessions and the tenancy
//! of the user, in the same batch.

use super::{Account, AccountEvent, Disabled, Enabled, NoSuchAccount};
use crate::aggregate::{Command, CommandClass};

/// Disable an account; nothing if it is disabled with these values.
#[derive(Debug, Clone)]
pub struct DisableAccount(pub Disabled);

impl Command for DisableAccount {
    type Aggregate = Account;
    type Rejection = NoSuchAccount;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Account) -> Result<Option<AccountEvent>, NoSuchAccount> {
        let profile = state.profile.as_ref().ok_or(NoSuchAccount)?;
        let is_new = profile.disabled.as_ref().is_none_or(|disabled| disabled.details != self.0);
        Ok(is_new.then(|| AccountEvent::Disabled(self.0.clone())))
    }
}

/// Enable an account; nothing if it is enabled.
#[derive(Debug, Clone, Copy)]
pub struct EnableAccount;

impl Command for EnableAccount {
    type Aggregate = Account;
    type Rejection = NoSuchAccount;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Account) -> Result<Option<AccountEvent>, NoSuchAccount> {
        let profile = state.profile.as_ref().ok_or(NoSuchAccount)?;
        Ok(profile.disabled.is_some().then_some(AccountEvent::Enabled(Enabled {})))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::create::tests::details;
    use crate::account::{ChangeRole, DisabledInstances, Erased, ErasedBy, Role, RoleChanged, RoleRejected};
    use crate::testing::{at, given};

    fn disabled(reason: Option<&str>, instances: DisabledInstances) -> Disabled {
        Disabled { reason: reason.map(|reason| reason.to_owned().into()), instances }
    }

    #[test]
    fn account_is_disabled_and_enabled_once() {
        let disable = disabled(Some("the course is over"), DisabledInstances::Stop);
        let account = given([AccountEvent::Created(details("ada"))])
            .when(EnableAccount)
            .then_nothing()
            .when(DisableAccount(disable.clone()))
            .then(AccountEvent::Disabled(disable.clone()))
            .when(DisableAccount(disable.clone()))
            .then_nothing();
        let profile = account.state.profile.clone().unwrap();
        assert_eq!(profile.disabled.map(|disabled| (disabled.details, disabled.at)), Some((disable, at(2))));
        let account = account.when(EnableAccount).then(AccountEvent::Enabled(Enabled {}));
        assert_eq!(account.state.profile.unwrap().disabled, None);
    }

    #[test]
    fn account_disabled_again_with_other_values_has_the_new_ones() {
        let (first, second) = (disabled(None, DisabledInstances::Leave), disabled(None, DisabledInstances::Stop));
        let account = given([AccountEvent::Created(details("ada")), AccountEvent::Disabled(first)])
            .when(DisableAccount(second.clone()))
            .then(AccountEvent::Disabled(second.clone()));
        assert_eq!(account.state.profile.unwrap().disabled.unwrap().details, second);
    }

    #[test]
    fn account_disabled_is_no_administrator_until_it_is_made_one_again() {
        let changed = AccountEvent::RoleChanged(RoleChanged { role: Role::Admin });
        let account = given::<Account>([AccountEvent::Created(details("ada")), changed.clone()])
            .and([AccountEvent::Disabled(disabled(None, DisabledInstances::Leave))]);
        assert!(!account.state.is_admin());
        let account = account
            .when(ChangeRole { to: Role::Admin })
            .then_rejected(RoleRejected::Disabled)
            .when(EnableAccount)
            .then(AccountEvent::Enabled(Enabled {}));
        assert!(!account.state.is_admin());
        account.when(ChangeRole { to: Role::Admin }).then(changed);
    }

    #[test]
    fn account_unknown_or_erased_is_neither_disabled_nor_enabled() {
        let disable = DisableAccount(disabled(None, DisabledInstances::Stop));
        given([]).when(disable.clone()).then_rejected(NoSuchAccount).when(EnableAccount).then_rejected(NoSuchAccount);
        given([AccountEvent::Created(details("ada")), AccountEvent::Erased(Erased { by: ErasedBy::Operator })])
            .when(disable)
            .then_rejected(NoSuchAccount)
            .when(EnableAccount)
            .then_rejected(NoSuchAccount);
    }
}
