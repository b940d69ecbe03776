//! Replaces the password of an account. The caller has checked the current one, or is an administrator.

use super::{Account, AccountEvent, NoSuchAccount, PasswordChanged};
use crate::aggregate::{Command, CommandClass};

/// Replace the password.
#[derive(Debug, Clone)]
pub struct ChangePassword(pub PasswordChanged);

impl Command for ChangePassword {
    type Aggregate = Account;
    type Rejection = NoSuchAccount;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Account) -> Result<Option<AccountEvent>, NoSuchAccount> {
        let profile = state.profile.as_ref().ok_or(NoSuchAccount)?;
        let is_new = profile.details.password_verifier != self.0.password_verifier;
        Ok(is_new.then(|| AccountEvent::PasswordChanged(self.0.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::create::tests::details;
    use crate::account::{Erased, ErasedBy};
    use crate::testing::given;

    fn change(verifier: &str) -> ChangePassword {
        ChangePassword(PasswordChanged { password_verifier: verifier.to_owned().into() })
    }

    #[test]
    fn password_changed_replaces_the_verifier_only() {
        let account = given([AccountEvent::Created(details("ada"))])
            .when(change("$new$"))
            .then(AccountEvent::PasswordChanged(change("$new$").0))
            .when(change("$new$"))
            .then_nothing()
            .state;
        let mut expected = details("ada");
        expected.password_verifier = "$new$".to_owned().into();
        assert_eq!(account.profile.unwrap().details, expected);
    }

    #[test]
    fn password_of_no_account_or_an_erased_one_cannot_be_changed() {
        given([]).when(change("$new$")).then_rejected(NoSuchAccount);
        given([AccountEvent::Created(details("ada"))])
            .and([AccountEvent::Erased(Erased { by: ErasedBy::User })])
            .when(change("$new$"))
            .then_rejected(NoSuchAccount);
    }
}
