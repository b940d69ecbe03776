//! Validation of SSH public keys. A key is parsed and serialised again, so that only a bare key reaches an
//! `authorized_keys` file: no options (`command="…"`), further lines or unusual comments.

use ssh_key::public::KeyData;
use ssh_key::{Algorithm, PublicKey};

/// More than any key in use has (RSA with 16,384 bits: about 2,800).
const MAX_KEY_CHARS: usize = 8 * 1024;
const MIN_RSA_BITS: usize = 2048;

/// Why a key was refused, as a message for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSshKey(pub &'static str);

/// Checks one public key, as in a `.pub` file, and serialises it again.
///
/// # Errors
/// [`InvalidSshKey`].
pub fn normalise(text: &str) -> Result<String, InvalidSshKey> {
    let text = text.trim();
    if text.is_empty() {
        return Err(InvalidSshKey("is empty"));
    }
    if text.len() > MAX_KEY_CHARS {
        return Err(InvalidSshKey("is too long for a public key"));
    }
    if text.contains("PRIVATE KEY") {
        return Err(InvalidSshKey("is a private key: give the public one, from the file that ends in .pub"));
    }
    if text.contains(['\n', '\r']) {
        return Err(InvalidSshKey("must be one line"));
    }
    let mut key = PublicKey::from_openssh(text).map_err(|_| {
        InvalidSshKey("is not an OpenSSH public key (one line that starts with its type, without options)")
    })?;
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => {}
        Algorithm::Rsa { .. } if rsa_bits(key.key_data()) >= MIN_RSA_BITS => {}
        Algorithm::Rsa { .. } => return Err(InvalidSshKey("is an RSA key of fewer than 2048 bits")),
        _ => return Err(InvalidSshKey("is of a type that SSH servers no longer accept; use Ed25519, ECDSA or RSA")),
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "@.-_+:".contains(c);
    if key.comment().len() > 100 || !key.comment().chars().all(allowed) {
        key.set_comment("");
    }
    key.to_openssh().map(|text| text.trim_end().to_owned()).map_err(|_| InvalidSshKey("can't be written as one line"))
}

fn rsa_bits(data: &KeyData) -> usize {
    data.rsa()
        .and_then(|rsa| rsa.n.as_positive_bytes())
        .map_or(0, |modulus| modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    #[test]
    fn normalise_valid_key_is_unchanged() {
        assert_eq!(normalise(ED25519).unwrap(), ED25519);
        assert_eq!(normalise(&format!("  {ED25519} ada@laptop\n")).unwrap(), format!("{ED25519} ada@laptop"));
    }

    #[test]
    fn normalise_drops_unusual_comments() {
        assert_eq!(normalise(&format!("{ED25519} $(reboot) `id`")).unwrap(), ED25519);
    }

    #[test]
    fn normalise_refuses_anything_but_one_bare_key() {
        for (text, why) in [
            (String::new(), "is empty"),
            (format!("command=\"id\" {ED25519}"), "is not an OpenSSH"),
            (format!("{ED25519}\n{ED25519}"), "must be one line"),
            (format!("{ED25519} a\rcommand=\"id\" x"), "must be one line"),
            ("ssh-ed25519 AAAA".to_owned(), "is not an OpenSSH"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----".to_owned(), "is a private key"),
            ("hello".to_owned(), "is not an OpenSSH"),
            ("x".repeat(10_000), "is too long"),
        ] {
            let refused = normalise(&text).unwrap_err();
            assert!(refused.0.starts_with(why), "{text:?} → {refused}");
        }
    }
}
