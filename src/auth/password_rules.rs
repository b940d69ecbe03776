//! Which new passwords are refused: too short or too long ones, and those that anybody would try first.

use std::ops::RangeInclusive;

/// In characters.
const LENGTH: RangeInclusive<usize> = 8..=128;

/// Passwords from public lists of the most common ones, with at least the required length. One a line, lower-case.
const COMMON: &str = include_str!("common_passwords.txt");

/// Why a password is too easy to guess, as a message for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// It is in the list of common passwords.
    #[error("is one of the most common passwords")]
    Common,
    /// It is a name of its owner, alone or with digits or punctuation around it.
    #[error("is the name or the address of the account")]
    Name,
}

/// Whether a new password has 8 to 128 characters.
pub fn has_valid_length(password: &str) -> bool {
    LENGTH.contains(&password.chars().count())
}

/// Checks a new password; `names` are the owner's username and email address.
///
/// # Errors
/// [`WeakPassword`].
pub fn check<'a>(password: &str, names: impl IntoIterator<Item = &'a str>) -> Result<(), WeakPassword> {
    let password = password.trim().to_lowercase();
    if COMMON.lines().any(|common| common == password) {
        return Err(WeakPassword::Common);
    }
    for name in names {
        let name = name.trim().to_lowercase();
        let local_part = name.split('@').next().unwrap_or_default();
        if password == name || (!core(&password).is_empty() && core(&password) == core(local_part)) {
            return Err(WeakPassword::Name);
        }
    }
    Ok(())
}

/// The text without the digits and the punctuation around it.
fn core(text: &str) -> &str {
    text.trim_matches(|c: char| !c.is_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_refuses_common_passwords_and_the_owners_names() {
        for (password, refused) in [
            ("password", Err(WeakPassword::Common)),
            ("PassWord1", Err(WeakPassword::Common)),
            ("adalovelace", Err(WeakPassword::Name)),
            ("AdaLovelace1815!", Err(WeakPassword::Name)),
            ("countess", Err(WeakPassword::Name)),
            ("countess@example.org", Err(WeakPassword::Name)),
            ("correct horse", Ok(())),
            ("lovelace and ada", Ok(())),
            ("3141592653589793", Ok(())),
        ] {
            assert_eq!(check(password, ["adalovelace", "countess@example.org"]), refused, "{password}");
        }
    }

    #[test]
    fn common_passwords_are_lower_case_and_could_be_chosen() {
        for password in COMMON.lines() {
            assert!(password.chars().count() >= 8 && password == password.trim().to_lowercase(), "{password:?}");
        }
    }
}
