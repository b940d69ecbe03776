//! The token of a password reset: whose password it resets, and a secret of 256 random bits.
//!
//! Only a keyed hash of the whole token is stored. Nobody guesses such a token, so it needs no signature.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dockhost_domain::ids::UserId;
use rand::RngCore;
use uuid::Uuid;
use zeroize::Zeroizing;

const ID_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;

/// A token in its form for people: 64 characters.
#[derive(Clone)]
pub struct ResetToken {
    text: String,
    user_id: UserId,
}

/// The text is not of the form of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a token of a password reset")]
pub struct NotAToken;

impl ResetToken {
    /// A new token.
    pub fn random(user_id: UserId) -> Self {
        let mut secret = Zeroizing::new([0_u8; SECRET_BYTES]);
        rand::rng().fill_bytes(&mut *secret);
        Self::with_secret(user_id, &secret)
    }

    /// The token with this secret, which nobody can guess.
    pub fn with_secret(user_id: UserId, secret: &[u8; SECRET_BYTES]) -> Self {
        let bytes = Zeroizing::new([user_id.uuid().as_bytes().as_slice(), secret].concat());
        Self { text: URL_SAFE_NO_PAD.encode(&*bytes), user_id }
    }

    /// Whose password it resets.
    pub const fn user_id(&self) -> UserId {
        self.user_id
    }

    /// What the user sends.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for ResetToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotAToken)?;
        let bytes: [u8; ID_BYTES + SECRET_BYTES] = bytes.try_into().map_err(|_| NotAToken)?;
        let id = bytes.first_chunk::<ID_BYTES>().ok_or(NotAToken)?;
        Ok(Self { text: text.to_owned(), user_id: UserId::from_uuid(Uuid::from_bytes(*id)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_token_names_its_user_and_is_random() {
        let user_id = UserId::from_uuid(Uuid::from_u128(7));
        let [first, second] = [(); 2].map(|()| ResetToken::random(user_id));
        assert_ne!(first.as_str(), second.as_str());
        assert_eq!(first.as_str().len(), 64);
        assert_eq!(first.as_str().parse::<ResetToken>().unwrap().user_id(), user_id);
        for text in ["", "token", &first.as_str()[1..], &format!("{}A", first.as_str()), &"=".repeat(64)] {
            assert!(text.parse::<ResetToken>().is_err(), "{text}");
        }
    }
}
