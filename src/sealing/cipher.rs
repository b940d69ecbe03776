//! AES-256-GCM over whole values. In: plain bytes and what they are bound to. Out: nonce, ciphertext and tag as one
//! piece. The nonce comes from the library's generator, so that no caller can repeat one.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};

/// The bytes of a key.
pub const KEY_BYTES: usize = 32;

/// One 256-bit key, ready for use; it never gives its bytes back.
pub struct Cipher(RandomizedNonceKey);

impl Cipher {
    /// Takes the key's bytes; `None` if the library refuses them.
    #[must_use]
    pub fn new(key: &[u8; KEY_BYTES]) -> Option<Self> {
        RandomizedNonceKey::new(&AES_256_GCM, key).ok().map(Self)
    }

    /// Seals `plain`, bound to `aad`; `None` if the library's generator fails.
    #[must_use]
    pub fn seal(&self, aad: &[u8], mut plain: Vec<u8>) -> Option<Vec<u8>> {
        let nonce = self.0.seal_in_place_append_tag(Aad::from(aad), &mut plain).ok()?;
        Some([nonce.as_ref().as_slice(), &plain].concat())
    }

    /// Opens what [`Cipher::seal`] made; `None` if it was made with another key, bound to something else, or changed.
    #[must_use]
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut rest = rest.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_in_place(nonce, Aad::from(aad), &mut rest).ok().map(|plain| plain.to_vec())
    }
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[KEY]")
    }
}
