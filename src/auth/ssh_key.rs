//! Validation of SSH public keys. A key is parsed and serialised again, so that only a bare key reaches an
//! `authorized_keys` file: no options (`command="…"`), further lines or unusual comments.

use ssh_key::public::KeyData;
use ssh_key::{Algorithm, HashAlg, PublicKey};

/// More than any key in use has (RSA with 16,384 bits: about 2,800).
const MAX_KEY_CHARS: usize = 8 * 1024;
const MIN_RSA_BITS: usize = 2048;
const OLD_TYPE: &str = "is of a type that SSH servers no longer accept; use Ed25519, ECDSA or RSA";

/// What people paste instead of an OpenSSH public key: what the text contains, and what to do. A key's comment may contain
/// anything, so only a text that is not a key is searched.
const OTHER_FORMATS: [(&str, &str); 7] = [
    // First, because the file contains the word of the next format as well.
    (
        "PuTTY-User-Key-File",
        "is a PuTTY private key file: open it in PuTTYgen and copy the field \"Public key for pasting into OpenSSH \
         authorized_keys file\"",
    ),
    ("PRIVATE KEY", "is a private key: give the public one, from the file that ends in .pub"),
    ("BEGIN SSH2 PUBLIC KEY", "is in the format of RFC 4716: convert it with `ssh-keygen -i -f FILE`"),
    ("BEGIN RSA PUBLIC KEY", "is in PEM format: convert it with `ssh-keygen -i -m PEM -f FILE`"),
    ("BEGIN PUBLIC KEY", "is in PEM format: convert it with `ssh-keygen -i -m PKCS8 -f FILE`"),
    ("-cert-v01@openssh.com", "is a certificate: give the public key that it was issued for"),
    ("SHA256:", "is the fingerprint of a key: give the key, from the file that ends in .pub"),
];

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
    let advice = || OTHER_FORMATS.iter().find(|(mark, _)| text.contains(mark)).map(|(_, advice)| *advice);
    if text.contains(['\n', '\r']) {
        return Err(InvalidSshKey(advice().unwrap_or("must be one line")));
    }
    // Copying may turn the blanks between the fields into tabs or other white space.
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut key = PublicKey::from_openssh(&one_line).map_err(|_| {
        let other = "is not an OpenSSH public key (one line that starts with its type, without options)";
        InvalidSshKey(advice().unwrap_or(other))
    })?;
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => {}
        Algorithm::Rsa { .. } if rsa_bits(key.key_data()) >= MIN_RSA_BITS => {}
        Algorithm::Rsa { .. } => return Err(InvalidSshKey("is an RSA key of fewer than 2048 bits")),
        Algorithm::Other(_) => return Err(InvalidSshKey(advice().unwrap_or(OLD_TYPE))),
        _ => return Err(InvalidSshKey(OLD_TYPE)),
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "@.-_+:".contains(c);
    if key.comment().len() > 100 || !key.comment().chars().all(allowed) {
        key.set_comment("");
    }
    key.to_openssh().map(|text| text.trim_end().to_owned()).map_err(|_| InvalidSshKey("can't be written as one line"))
}

/// The fingerprint of a checked key, `SHA256:…` as `ssh-keygen -l` prints it.
#[must_use]
pub fn fingerprint(key: &str) -> Option<String> {
    Some(PublicKey::from_openssh(key).ok()?.fingerprint(HashAlg::Sha256).to_string())
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
    fn normalise_accepts_every_kind_that_the_document_promises() {
        for line in include_str!("ssh_key/accepted.pub").lines() {
            assert_eq!(normalise(line).unwrap(), line);
        }
    }

    #[test]
    fn normalise_ignores_white_space_around_the_fields() {
        let (kind, data) = ED25519.split_once(' ').unwrap();
        for text in [
            format!("\u{a0}{ED25519}\r\n"),
            format!("{ED25519}\n\n"),
            format!("{kind}\t{data}"),
            format!("{kind}  \u{a0}{data} "),
        ] {
            assert_eq!(normalise(&text).as_deref(), Ok(ED25519), "{text:?}");
        }
    }

    #[test]
    fn normalise_other_format_says_what_to_do() {
        for (text, why) in [
            ("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none", "is a PuTTY private key file"),
            ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----", "is in the format of RFC 4716"),
            ("-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----", "is in PEM format"),
            ("-----BEGIN RSA PUBLIC KEY-----\nMIIB\n-----END RSA PUBLIC KEY-----", "is in PEM format"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl", "is a private key"),
            ("ssh-ed25519-cert-v01@openssh.com AAAA", "is a certificate"),
            ("256 SHA256:1C9QXBKspa0T9zjGgIb/Mfa1x0sWnp9YNED+O4Mwyj4 ada", "is the fingerprint"),
        ] {
            let refused = normalise(text).unwrap_err();
            assert!(refused.0.starts_with(why), "{text:?} → {refused}");
        }
    }

    #[test]
    fn normalise_short_rsa_key_is_refused() {
        let refused = normalise(include_str!("ssh_key/rsa_1024.pub")).unwrap_err();
        assert_eq!(refused.0, "is an RSA key of fewer than 2048 bits");
    }

    /// What other formats contain may stand in a comment.
    #[test]
    fn normalise_comment_never_decides_about_the_key() {
        for (comment, kept) in [("SHA256:laptop", true), ("PRIVATE KEY", false), ("a-cert-v01@openssh.com", true)] {
            let with = format!("{ED25519} {comment}");
            let expected = if kept { with.as_str() } else { ED25519 };
            assert_eq!(normalise(&with).as_deref(), Ok(expected));
        }
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
