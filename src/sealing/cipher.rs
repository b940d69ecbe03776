//! AES-256-GCM over whole values. The library draws each nonce, so a caller cannot reuse one.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};

/// The length of a key in bytes.
pub const KEY_BYTES: usize = 32;

/// One 256-bit key, ready for use. Its bytes cannot be read back.
pub struct Cipher(RandomizedNonceKey);

impl Cipher {
    /// Takes the key's bytes; `None` if the library refuses them.
    #[must_use]
    pub fn new(key: &[u8; KEY_BYTES]) -> Option<Self> {
        RandomizedNonceKey::new(&AES_256_GCM, key).ok().map(Self)
    }

    /// Encrypts `plain`, bound to `aad`, into nonce, ciphertext and tag; `None` if the random generator fails.
    #[must_use]
    pub fn seal(&self, aad: &[u8], mut plain: Vec<u8>) -> Option<Vec<u8>> {
        let nonce = self.0.seal_in_place_append_tag(Aad::from(aad), &mut plain).ok()?;
        Some([nonce.as_ref().as_slice(), &plain].concat())
    }

    /// Decrypts the output of [`Cipher::seal`]; `None` if the key or `aad` differs or the bytes were changed.
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
