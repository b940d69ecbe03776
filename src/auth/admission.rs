//! Who may sign up, and who may register a backend.

use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use secrecy::{ExposeSecret, SecretString};

/// Characters that a shared secret must have: too many to guess at the rate that sign-ups are limited to.
const MIN_LENGTH: usize = 8;

/// Who may sign up as a user.
#[derive(Debug, Clone)]
pub enum SignUp {
    /// Anyone who reaches the API.
    Open,
    /// People who have an invitation of an administrator, or one of these codes.
    Invite(Vec<SharedSecret>),
    /// Nobody.
    Closed,
}

/// A sign-up was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignUpRefused {
    /// Nobody may sign up.
    Closed,
    /// There is no invitation, and the code is missing or not one of the valid ones.
    NotInvited,
}

impl SignUp {
    /// Checks the invitation code of a sign-up; `has_invitation` if it has an invitation, which must be checked as well.
    ///
    /// # Errors
    /// [`SignUpRefused`].
    pub fn admit(&self, code: Option<&str>, has_invitation: bool) -> Result<(), SignUpRefused> {
        match self {
            Self::Open => Ok(()),
            Self::Closed => Err(SignUpRefused::Closed),
            Self::Invite(_) if has_invitation => Ok(()),
            Self::Invite(codes) if code.is_some_and(|code| codes.iter().any(|known| known.matches(code))) => Ok(()),
            Self::Invite(_) => Err(SignUpRefused::NotInvited),
        }
    }
}

/// Which backends may be registered, and which of those may be given instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enrolment {
    /// Any may be registered. One that is registered without a token awaits an administrator's approval.
    Approval,
    /// Only with a token, and without approval.
    Token,
    /// Any may be registered, without approval.
    Open,
}

/// A secret that several people share: an invitation code, or the secret of enrolment. People copy it by hand, so the case
/// of letters and the blanks around it don't count.
#[derive(Debug, Clone)]
pub struct SharedSecret(SecretString);

/// A shared secret is too short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("each one must have at least {MIN_LENGTH} characters")]
pub struct TooShort;

impl FromStr for SharedSecret {
    type Err = TooShort;

    fn from_str(text: &str) -> Result<Self, TooShort> {
        let text = folded(text);
        if text.chars().count() < MIN_LENGTH { Err(TooShort) } else { Ok(Self(text.into())) }
    }
}

impl SharedSecret {
    /// The text, for those who may pass it on.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether this is the secret. Takes the same time for all texts of the right length.
    #[must_use]
    pub fn matches(&self, given: &str) -> bool {
        verify_slices_are_equal(folded(given).as_bytes(), self.0.expose_secret().as_bytes()).is_ok()
    }
}

fn folded(text: &str) -> String {
    text.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admit_follows_the_mode() {
        let invite = SignUp::Invite(["biology-7b", "chemistry-8a"].map(|code| code.parse().unwrap()).into());
        for code in ["biology-7b", " Chemistry-8A "] {
            assert_eq!(invite.admit(Some(code), false), Ok(()), "{code}");
        }
        for code in [None, Some(""), Some("biology-7"), Some("biology-7bb")] {
            assert_eq!(invite.admit(code, false), Err(SignUpRefused::NotInvited), "{code:?}");
            assert_eq!(invite.admit(code, true), Ok(()));
            assert_eq!(SignUp::Open.admit(code, false), Ok(()));
            assert_eq!(SignUp::Closed.admit(code, true), Err(SignUpRefused::Closed));
        }
    }

    #[test]
    fn shared_secret_too_short_is_refused() {
        assert_eq!("1234567 ".parse::<SharedSecret>().unwrap_err(), TooShort);
        assert!(!format!("{:?}", "biology-7b".parse::<SharedSecret>().unwrap()).contains("biology"));
    }
}
