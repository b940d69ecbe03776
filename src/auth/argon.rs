//! Argon2id in reusable memory.
//!
//! The library's own functions allocate 19 MiB per hash, and the page faults take half as long as the hash itself. The
//! next hash overwrites the memory, and dropping it zeroes it.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::password_hash::{Error, Result};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroize;

/// The memory for one hash at a time, allocated on first use.
#[derive(Default)]
pub struct HashMemory(Vec<Block>);

impl HashMemory {
    /// A verifier (PHC string) of this password: Argon2id with 19 MiB, two passes, one lane.
    ///
    /// # Errors
    /// If the library refuses its own defaults.
    pub fn hash(&mut self, password: &[u8]) -> Result<String> {
        let (algorithm, version, params) = (Algorithm::default(), Version::default(), Params::default());
        let (salt, length) = (Salt::generate(), Params::DEFAULT_OUTPUT_LEN);
        let hash = PasswordHash {
            algorithm: algorithm.ident(),
            version: Some(version.into()),
            params: ParamsString::try_from(&params)?,
            salt: Some(salt),
            hash: Some(self.output(&Argon2::new(algorithm, version, params), password, &salt, length)?),
        };
        Ok(hash.to_string())
    }

    /// Whether the password matches the verifier, hashed with the verifier's own parameters.
    ///
    /// # Errors
    /// If the verifier is malformed.
    pub fn matches(&mut self, password: &[u8], verifier: &str) -> Result<bool> {
        let verifier = PasswordHash::new(verifier)?;
        let (Some(salt), Some(expected)) = (&verifier.salt, &verifier.hash) else { return Err(Error::EncodingInvalid) };
        let version = verifier.version.map(Version::try_from).transpose()?.unwrap_or_default();
        let argon = Argon2::new(verifier.algorithm.as_str().try_into()?, version, Params::try_from(&verifier)?);
        // `Output` compares in constant time.
        Ok(self.output(&argon, password, salt, expected.len())? == *expected)
    }

    fn output(&mut self, argon: &Argon2<'_>, password: &[u8], salt: &[u8], length: usize) -> Result<Output> {
        self.0.resize(argon.params().block_count(), Block::new());
        let mut bytes = [0; Output::MAX_LENGTH];
        let bytes = bytes.get_mut(..length).ok_or(Error::OutputSize)?;
        argon.hash_password_into_with_memory(password, salt, bytes, &mut self.0)?;
        Ok(Output::new(bytes)?)
    }
}

impl Drop for HashMemory {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Zeroize::zeroize);
    }
}

#[cfg(test)]
mod tests {
    use argon2::{PasswordHasher, PasswordVerifier};

    use super::*;

    #[test]
    fn hash_memory_agrees_with_the_library() {
        let (library, mut memory) = (Argon2::default(), HashMemory::default());
        let theirs = library.hash_password(b"correct horse").unwrap().to_string();
        let ours = memory.hash(b"correct horse").unwrap();
        for verifier in [&theirs, &ours] {
            assert!(verifier.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{verifier}");
            assert!(memory.matches(b"correct horse", verifier).unwrap());
            assert!(!memory.matches(b"battery staple", verifier).unwrap());
        }
        library.verify_password(b"correct horse", ours.as_str()).unwrap();
    }

    #[test]
    fn matches_uses_the_parameters_of_the_verifier() {
        let params = Params::new(64, 3, 2, Some(24)).unwrap();
        let costly = Argon2::new(Algorithm::Argon2i, Version::V0x13, params);
        let verifier = costly.hash_password(b"correct horse").unwrap().to_string();
        let mut memory = HashMemory::default();
        assert!(memory.matches(b"correct horse", &verifier).unwrap());
        assert!(!memory.matches(b"battery staple", &verifier).unwrap());
    }

    #[test]
    fn matches_malformed_verifier_is_an_error() {
        let mut memory = HashMemory::default();
        for text in ["", "plain", "$argon2id$v=19$m=19456,t=2,p=1", "$scrypt$ln=1$c2FsdHNhbHQ$aGFzaGhhc2g"] {
            assert!(memory.matches(b"x", text).is_err(), "{text}");
        }
    }
}
