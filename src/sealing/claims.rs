//! The keyed hash that stands for a claimed name in the claim's subject. It is keyed because names can be guessed from
//! a plain hash.

use aws_lc_rs::hmac;
use dockhost_domain::idempotency::RequestHash;
use dockhost_domain::subject::{ClaimHash, ClaimId, ClaimKind};
use uuid::Uuid;
use zeroize::Zeroizing;

/// Hashes names with one key per log. The key never changes: with another one, no existing claim would be found.
#[derive(Debug)]
pub struct ClaimHasher(hmac::Key);

impl ClaimHasher {
    /// Takes the key.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// An id derived from values of a request. The same values give the same id, so a repeated sign-up finds the
    /// account of the first one.
    #[must_use]
    pub fn derived_id(&self, values: [&str; 3]) -> Uuid {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(self.sign(b"id", values).as_ref()).for_each(|(to, from)| *to = *from);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// A fingerprint of these values that does not reveal them: 64 hexadecimal digits.
    #[must_use]
    pub fn keyed_hash(&self, values: [&str; 3]) -> String {
        const_hex::encode(self.sign(b"hash", values))
    }

    /// The hash by which an event has a part of a request.
    #[must_use]
    pub fn request_hash(&self, values: [&str; 3]) -> RequestHash {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(self.sign(b"request", values).as_ref()).for_each(|(to, from)| *to = *from);
        RequestHash::from_bits(u128::from_be_bytes(bytes))
    }

    /// A secret derived from values of a request: whoever has the request gets the same one again, and nothing of it is stored.
    #[must_use]
    pub fn derived_secret(&self, values: [&str; 3]) -> Zeroizing<[u8; 32]> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        bytes.iter_mut().zip(self.sign(b"secret", values).as_ref()).for_each(|(to, from)| *to = *from);
        bytes
    }

    fn sign(&self, purpose: &[u8], values: [&str; 3]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(purpose);
        for value in values {
            context.update(b"\0");
            context.update(value.as_bytes());
        }
        context.sign()
    }

    /// The claim of this name. An email address is trimmed and lower-cased first, so that one mailbox has one claim.
    #[must_use]
    pub fn claim(&self, kind: ClaimKind, name: &str) -> ClaimId {
        let normal = match kind {
            ClaimKind::Email => name.trim().to_lowercase(),
            ClaimKind::Username | ClaimKind::Backend => name.to_owned(),
        };
        let mut context = hmac::Context::with_key(&self.0);
        context.update(kind.as_str().as_bytes());
        context.update(b"\0");
        context.update(normal.as_bytes());
        let mut bytes = [0; 32];
        // HMAC-SHA256 gives exactly 32 bytes.
        bytes.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        ClaimId { kind, hash: ClaimHash::from_bytes(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claim_normalises_emails_and_separates_kinds() {
        let hasher = ClaimHasher::new(&[1; 32]);
        let claim = |kind, name| hasher.claim(kind, name);
        assert_eq!(claim(ClaimKind::Email, " Ada@Example.org"), claim(ClaimKind::Email, "ada@example.org"));
        assert_ne!(claim(ClaimKind::Username, "ada").hash, claim(ClaimKind::Backend, "ada").hash);
        assert_ne!(claim(ClaimKind::Username, "ada"), ClaimHasher::new(&[2; 32]).claim(ClaimKind::Username, "ada"));
    }

    #[test]
    fn derived_id_is_equal_for_equal_values_only() {
        let hasher = ClaimHasher::new(&[1; 32]);
        let id = hasher.derived_id(["key", "ada", "ada@example.org"]);
        assert_eq!(id, hasher.derived_id(["key", "ada", "ada@example.org"]));
        assert_eq!(id.get_version_num(), 8);
        for other in
            [["yek", "ada", "ada@example.org"], ["key", "eve", "ada@example.org"], ["keyada", "", "ada@example.org"]]
        {
            assert_ne!(id, hasher.derived_id(other));
        }
    }

    /// A hash is stored, and a secret is not: one must not tell the other.
    #[test]
    fn request_hash_and_secret_are_equal_for_equal_values_only_and_differ_from_each_other() {
        let hasher = ClaimHasher::new(&[1; 32]);
        let values = ["key", "user:ada", "1"];
        assert_eq!(hasher.request_hash(values), hasher.request_hash(values));
        assert_eq!(hasher.derived_secret(values), hasher.derived_secret(values));
        for other in [["key", "user:ada", "2"], ["key", "user:eve", "1"], ["request", "user:ada", "1"]] {
            assert_ne!(hasher.request_hash(values), hasher.request_hash(other));
            assert_ne!(hasher.derived_secret(values), hasher.derived_secret(other));
        }
        let secret = const_hex::encode(hasher.derived_secret(values));
        assert!(!secret.starts_with(&hasher.request_hash(values).to_string()));
        assert!(!secret.starts_with(&hasher.keyed_hash(values)[..32]));
    }

    /// Logs hold these hashes: with another key schedule or normal form every claimed name would be free again.
    #[test]
    fn claim_hash_never_changes() {
        let claim = ClaimHasher::new(&[1; 32]).claim(ClaimKind::Username, "ada");
        assert_eq!(claim.hash.to_string(), "41f376d933a09012070a18ab3efdc66ec8afe3be2b5385425a1d12d31414bf5b");
    }
}
