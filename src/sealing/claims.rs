//! The keyed hash under which a name is claimed. In: a name as it was typed. Out: the 32 bytes that stand in the
//! claim's subject. Keyed, because names are few enough to be guessed from a plain hash.

use aws_lc_rs::hmac;
use dockhost_domain::subject::{ClaimHash, ClaimId, ClaimKind};
use uuid::Uuid;

/// Hashes names; one key for the whole log, made once and never changed, because a claim is found only by it.
#[derive(Debug)]
pub struct ClaimHasher(hmac::Key);

impl ClaimHasher {
    /// Takes the key.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// An id made of a request's own words, the same each time: a repeated sign-up finds what it made before.
    #[must_use]
    pub fn derived_id(&self, words: [&str; 3]) -> Uuid {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(self.sign(b"id", words).as_ref()).for_each(|(to, from)| *to = *from);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// 64 characters of hex that stand for these words, and tell nothing of them.
    #[must_use]
    pub fn keyed_hash(&self, words: [&str; 3]) -> String {
        self.sign(b"hash", words).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn sign(&self, purpose: &[u8], words: [&str; 3]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(purpose);
        for word in words {
            context.update(b"\0");
            context.update(word.as_bytes());
        }
        context.sign()
    }

    /// The claim of this name. Emails are trimmed and lower-cased first: one mailbox, one claim.
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
    fn one_mailbox_has_one_claim_and_kinds_do_not_mix() {
        let hasher = ClaimHasher::new(&[1; 32]);
        let claim = |kind, name| hasher.claim(kind, name);
        assert_eq!(claim(ClaimKind::Email, " Ada@Example.org"), claim(ClaimKind::Email, "ada@example.org"));
        assert_ne!(claim(ClaimKind::Username, "ada").hash, claim(ClaimKind::Backend, "ada").hash);
        assert_ne!(claim(ClaimKind::Username, "ada"), ClaimHasher::new(&[2; 32]).claim(ClaimKind::Username, "ada"));
    }

    #[test]
    fn a_derived_id_is_the_same_for_the_same_words_only() {
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

    /// The hash is in the log for ever: another key schedule or normal form would free every name.
    #[test]
    fn the_hash_never_changes() {
        let claim = ClaimHasher::new(&[1; 32]).claim(ClaimKind::Username, "ada");
        assert_eq!(claim.hash.to_string(), "41f376d933a09012070a18ab3efdc66ec8afe3be2b5385425a1d12d31414bf5b");
    }
}
