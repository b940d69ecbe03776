//! Resets the password of an account with a secret that an administrator issued, once and until it expires.

use super::{Account, AccountEvent, NoSuchAccount, PasswordChanged, PasswordResetIssued};
use crate::aggregate::{Command, CommandClass};
use crate::timestamp::Timestamp;

/// Issue a reset of the password; an earlier one is no longer valid.
#[derive(Debug, Clone)]
pub struct IssuePasswordReset(pub PasswordResetIssued);

impl Command for IssuePasswordReset {
    type Aggregate = Account;
    type Rejection = NoSuchAccount;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Account) -> Result<Option<AccountEvent>, NoSuchAccount> {
        let profile = state.profile.as_ref().ok_or(NoSuchAccount)?;
        let is_new = profile.password_reset.as_ref() != Some(&self.0);
        Ok(is_new.then(|| AccountEvent::PasswordResetIssued(self.0.clone())))
    }
}

/// Replace the password by a reset that was issued.
#[derive(Debug, Clone)]
pub struct ResetPassword {
    /// The keyed hash of the secret.
    pub secret_hash: String,
    /// The deciding replica's time.
    pub now: Timestamp,
    /// The new password.
    pub changed: PasswordChanged,
}

/// The secret was never issued, was used or replaced, or has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reset is not valid, was used, or has expired")]
pub struct InvalidReset;

impl Account {
    /// Whether the password can be reset with this secret now.
    ///
    /// # Errors
    /// [`InvalidReset`].
    pub fn check_reset(&self, secret_hash: &str, now: Timestamp) -> Result<(), InvalidReset> {
        let reset = self.profile.as_ref().and_then(|profile| profile.password_reset.as_ref());
        let is_valid = reset.is_some_and(|reset| reset.secret_hash == secret_hash && now < reset.expires_at);
        if is_valid { Ok(()) } else { Err(InvalidReset) }
    }
}

impl Command for ResetPassword {
    type Aggregate = Account;
    type Rejection = InvalidReset;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Account) -> Result<Option<AccountEvent>, InvalidReset> {
        state.check_reset(&self.secret_hash, self.now)?;
        Ok(Some(AccountEvent::PasswordChanged(self.changed.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::create::tests::details;
    use crate::account::{ChangePassword, Erased, ErasedBy};
    use crate::testing::{at, given};

    fn issued(secret: &str, expires: i64) -> PasswordResetIssued {
        PasswordResetIssued { secret_hash: secret.to_owned(), expires_at: at(expires) }
    }

    fn changed(verifier: &str) -> PasswordChanged {
        PasswordChanged { password_verifier: verifier.to_owned().into() }
    }

    fn reset(secret: &str, now: i64) -> ResetPassword {
        ResetPassword { secret_hash: secret.to_owned(), now: at(now), changed: changed("$new$") }
    }

    #[test]
    fn password_is_reset_once_with_the_last_secret_until_it_expires() {
        let account = given([AccountEvent::Created(details("ada"))])
            .when(reset("a", 5))
            .then_rejected(InvalidReset)
            .when(IssuePasswordReset(issued("a", 100)))
            .then(AccountEvent::PasswordResetIssued(issued("a", 100)))
            .when(IssuePasswordReset(issued("b", 100)))
            .then(AccountEvent::PasswordResetIssued(issued("b", 100)))
            .when(reset("a", 5))
            .then_rejected(InvalidReset)
            .when(reset("b", 100))
            .then_rejected(InvalidReset)
            .when(reset("b", 99))
            .then(AccountEvent::PasswordChanged(changed("$new$")))
            .when(reset("b", 99))
            .then_rejected(InvalidReset);
        assert_eq!(account.state.profile.unwrap().details.password_verifier, "$new$".to_owned().into());
    }

    /// Whoever knows the password again needs no reset, and an old secret must not undo the change.
    #[test]
    fn password_changed_otherwise_ends_the_reset() {
        given([AccountEvent::Created(details("ada")), AccountEvent::PasswordResetIssued(issued("a", 100))])
            .when(ChangePassword(changed("$other$")))
            .then(AccountEvent::PasswordChanged(changed("$other$")))
            .when(reset("a", 5))
            .then_rejected(InvalidReset);
    }

    #[test]
    fn password_of_no_account_or_an_erased_one_is_not_reset() {
        given([]).when(IssuePasswordReset(issued("a", 100))).then_rejected(NoSuchAccount);
        given([AccountEvent::Created(details("ada")), AccountEvent::PasswordResetIssued(issued("a", 100))])
            .and([AccountEvent::Erased(Erased { by: ErasedBy::Operator })])
            .when(reset("a", 5))
            .then_rejected(InvalidReset);
    }
}
