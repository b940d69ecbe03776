//! Tokens that are used once, to register a backend or to sign up: long and random, and known to the log by their hash only.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dockhost_domain::enrolment::TokenHash;
use rand::RngCore;
use secrecy::SecretString;
use zeroize::Zeroizing;

/// What an enrolment token begins with, so that people and secret scanners recognise one.
pub const ENROLMENT: &str = "dhe_";
/// What the token of an invitation begins with.
pub const INVITATION: &str = "dhi_";
const RANDOM_BYTES: usize = 32;

/// A new token with this prefix.
#[must_use]
pub fn generate(prefix: &str) -> SecretString {
    let mut bytes = Zeroizing::new([0_u8; RANDOM_BYTES]);
    rand::rng().fill_bytes(&mut *bytes);
    of_bytes(prefix, &bytes)
}

/// The token with this prefix and these bytes, which nobody can guess.
#[must_use]
pub fn of_bytes(prefix: &str, bytes: &[u8; RANDOM_BYTES]) -> SecretString {
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)).into()
}

/// The hash by which the log knows a token. Blanks around the token don't count, because people copy it.
#[must_use]
pub fn hash(token: &str) -> TokenHash {
    let mut bytes = [0; digest::SHA256_OUTPUT_LEN];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, token.trim().as_bytes()).as_ref());
    TokenHash::from_digest(bytes)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn generate_gives_different_tokens_with_different_hashes() {
        let (one, other) = (generate(ENROLMENT), generate(ENROLMENT));
        let (one, other) = (one.expose_secret(), other.expose_secret());
        assert!(one.starts_with("dhe_") && one.len() == 47, "{one}");
        assert_ne!(hash(one), hash(other));
        assert_eq!(hash(&format!(" {one}\n")), hash(one));
    }
}
