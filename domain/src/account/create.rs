//! Creates an account.

use super::{Account, AccountEvent, Created};
use crate::aggregate::{Command, CommandClass};

/// Create an account.
#[derive(Debug, Clone)]
pub struct CreateAccount(pub Created);

/// The account exists, or its user was erased.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the account already exists")]
pub struct AccountExists;

impl Command for CreateAccount {
    type Aggregate = Account;
    type Rejection = AccountExists;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Account) -> Result<Option<AccountEvent>, AccountExists> {
        if state.erased || state.profile.is_some() {
            return Err(AccountExists);
        }
        Ok(Some(AccountEvent::Created(self.0.clone())))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::account::Role;
    use crate::names::Username;
    use crate::testing::{at, given};

    pub(in crate::account) fn details(name: &str) -> Created {
        Created {
            username: name.parse::<Username>().unwrap().into(),
            email: format!("{name}@example.org").into(),
            password_verifier: "$argon2id$".to_owned().into(),
            ssh_public_key: None,
            role: Role::User,
            group_id: None,
        }
    }

    #[test]
    fn account_is_created_once() {
        let account = given([])
            .when(CreateAccount(details("ada")))
            .then(AccountEvent::Created(details("ada")))
            .when(CreateAccount(details("ada")))
            .then_rejected(AccountExists)
            .when(CreateAccount(details("eve")))
            .then_rejected(AccountExists);
        let profile = account.state.profile.unwrap();
        assert_eq!((profile.details, profile.created_at), (details("ada"), at(1)));
    }
}
