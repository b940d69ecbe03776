//! Decision: a person signs up. In: their details. Out: `created`, unless this account already is.

use super::{Account, AccountEvent, Created};
use crate::aggregate::Command;

/// Create this account.
#[derive(Debug, Clone)]
pub struct CreateAccount(pub Created);

/// The account was created before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this account exists")]
pub struct AccountExists;

impl Command for CreateAccount {
    type Aggregate = Account;
    type Rejection = AccountExists;

    fn decide(&self, state: &Account) -> Result<Option<AccountEvent>, AccountExists> {
        match state.profile {
            Some(_) => Err(AccountExists),
            None => Ok(Some(AccountEvent::Created(self.0.clone()))),
        }
    }
}
