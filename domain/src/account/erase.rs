//! Erases a user. Reactions to the event release the user's claims, delete the instances and destroy the sealing key.

use super::{Account, AccountEvent, Erased, ErasedBy};
use crate::aggregate::{Command, CommandClass};

/// Erase an account's user.
#[derive(Debug, Clone, Copy)]
pub struct EraseAccount {
    /// Who requested it.
    pub by: ErasedBy,
}

/// The account was never created, or its user was erased.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the account does not exist")]
pub struct NoSuchAccount;

impl Command for EraseAccount {
    type Aggregate = Account;
    type Rejection = NoSuchAccount;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Account) -> Result<Option<AccountEvent>, NoSuchAccount> {
        match (state.erased, &state.profile) {
            (true, _) => Ok(None),
            (false, Some(_)) => Ok(Some(AccountEvent::Erased(Erased { by: self.by }))),
            (false, None) => Err(NoSuchAccount),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::create::tests::details;
    use crate::account::{AccountExists, CreateAccount};
    use crate::event::Event;
    use crate::testing::given;

    const ERASE: EraseAccount = EraseAccount { by: ErasedBy::Operator };

    #[test]
    fn account_erased_is_empty_and_cannot_be_created_again() {
        let account = given([AccountEvent::Created(details("ada"))])
            .when(ERASE)
            .then(AccountEvent::Erased(Erased { by: ErasedBy::Operator }))
            .when(ERASE)
            .then_nothing()
            .when(CreateAccount(details("ada")))
            .then_rejected(AccountExists);
        assert_eq!((account.state.profile, account.state.erased), (None, true), "the state contains no personal value");
    }

    #[test]
    fn account_never_created_cannot_be_erased() {
        given([]).when(ERASE).then_rejected(NoSuchAccount);
    }

    /// Readers compare the `ce-type` of an account's last event with this constant.
    #[test]
    fn account_erased_has_the_type_of_the_constant() {
        let event = Event::from(AccountEvent::Erased(Erased { by: ErasedBy::Operator }));
        assert_eq!(event.encode().unwrap().kind, AccountEvent::ERASED);
    }
}
