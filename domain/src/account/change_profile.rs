//! Replaces the email address or the default SSH key of an account. The caller changes the claims of the email addresses in
//! the same batch.

use super::{Account, AccountEvent, NoSuchAccount, ProfileChanged};
use crate::aggregate::{Command, CommandClass};

/// Replace what is given, and keep the rest.
#[derive(Debug, Clone, Default)]
pub struct ChangeProfile {
    /// The new email address, as entered.
    pub email: Option<String>,
    /// The new default key; `Some(None)` removes it.
    pub ssh_public_key: Option<Option<String>>,
}

impl Command for ChangeProfile {
    type Aggregate = Account;
    type Rejection = NoSuchAccount;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Account) -> Result<Option<AccountEvent>, NoSuchAccount> {
        let details = &state.profile.as_ref().ok_or(NoSuchAccount)?.details;
        let changed = ProfileChanged {
            email: self.email.clone().map_or_else(|| details.email.clone(), Into::into),
            ssh_public_key: match &self.ssh_public_key {
                Some(key) => key.clone().map(Into::into),
                None => details.ssh_public_key.clone(),
            },
        };
        let is_new = changed.email != details.email || changed.ssh_public_key != details.ssh_public_key;
        Ok(is_new.then_some(AccountEvent::ProfileChanged(changed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::create::tests::details;
    use crate::testing::given;

    fn changed(email: &str, key: Option<&str>) -> AccountEvent {
        let ssh_public_key = key.map(|key| key.to_owned().into());
        AccountEvent::ProfileChanged(ProfileChanged { email: email.to_owned().into(), ssh_public_key })
    }

    #[test]
    fn profile_changed_keeps_what_is_not_given() {
        let email = ChangeProfile { email: Some("a@example.org".to_owned()), ..ChangeProfile::default() };
        let key = ChangeProfile { ssh_public_key: Some(Some("ssh-ed25519 A".to_owned())), ..ChangeProfile::default() };
        let no_key = ChangeProfile { ssh_public_key: Some(None), ..ChangeProfile::default() };
        given([AccountEvent::Created(details("ada"))])
            .when(email.clone())
            .then(changed("a@example.org", None))
            .when(key)
            .then(changed("a@example.org", Some("ssh-ed25519 A")))
            .when(email)
            .then_nothing()
            .when(no_key)
            .then(changed("a@example.org", None));
    }

    #[test]
    fn profile_of_no_account_cannot_be_changed() {
        given([]).when(ChangeProfile::default()).then_rejected(NoSuchAccount);
    }
}
