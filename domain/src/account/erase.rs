//! Decision: a person is erased. In: who asked for it. Out: `erased`, once; nothing if they are already; or that there
//! is no such person. What follows (names free again, instances gone, the key destroyed) hangs on this event.

use super::{Account, AccountEvent, Erased, ErasedBy};
use crate::aggregate::Command;

/// Erase this account's person.
#[derive(Debug, Clone, Copy)]
pub struct EraseAccount {
    /// Who asked for it.
    pub by: ErasedBy,
}

/// Nobody has this account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no such account")]
pub struct NoSuchAccount;

impl Command for EraseAccount {
    type Aggregate = Account;
    type Rejection = NoSuchAccount;

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
    fn a_person_is_erased_once_and_for_good() {
        let account = given([AccountEvent::Created(details("ada"))])
            .when(ERASE)
            .then(AccountEvent::Erased(Erased { by: ErasedBy::Operator }))
            .when(ERASE)
            .then_nothing()
            .when(CreateAccount(details("ada")))
            .then_rejected(AccountExists);
        assert_eq!((account.state.profile, account.state.erased), (None, true), "nothing is left in memory");
    }

    #[test]
    fn nobody_cannot_be_erased() {
        given([]).when(ERASE).then_rejected(NoSuchAccount);
    }

    /// Readers ask for the last event of an account by its name in the log.
    #[test]
    fn the_name_in_the_log_is_the_one_that_is_asked_for() {
        let event = Event::from(AccountEvent::Erased(Erased { by: ErasedBy::Operator }));
        assert_eq!(event.encode().unwrap().kind, AccountEvent::ERASED);
    }
}
