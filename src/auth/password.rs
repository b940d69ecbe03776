//! Passwords: Argon2id on a blocking pool behind a bounded queue.
//!
//! In: a password, and a verifier to hold it against. Out: a new verifier, or whether it matches. Each hash takes
//! 19 MiB and some 20 ms of one processor, so as many run at once as there are processors, only so many may wait, and
//! beyond that the answer is "busy" at once: memory stays bounded whatever arrives.

use std::sync::Arc;

use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Hashes that may wait; at 20 ms each that is a few seconds.
const QUEUE: usize = 256;

/// The pool did not hash.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too many wait already.
    #[error("too many passwords are being checked")]
    Busy,
    /// The hash itself failed: a fault of ours.
    #[error("the password could not be hashed: {0}")]
    Broken(String),
}

/// The pool.
pub struct Passwords {
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    nobody: String,
}

impl Passwords {
    /// A pool as wide as the machine.
    ///
    /// # Errors
    /// If Argon2 does not work here at all.
    pub fn new() -> Result<Self, PasswordError> {
        let width = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            running: Arc::new(Semaphore::new(width)),
            admitted: Arc::new(Semaphore::new(width + QUEUE)),
            nobody: hash(b"nobody has this password")?,
        })
    }

    async fn turn(&self) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), PasswordError> {
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| PasswordError::Busy)?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| PasswordError::Busy)?;
        Ok((admitted, running))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let turn = self.turn().await?;
        let task = tokio::task::spawn_blocking(move || {
            // Held until the work is done, also when the request was given up meanwhile.
            let _turn = turn;
            work()
        });
        task.await.unwrap_or_else(|error| Err(PasswordError::Broken(error.to_string())))
    }

    /// A verifier (PHC string) of this password.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub async fn hash(&self, password: SecretString) -> Result<String, PasswordError> {
        self.blocking(move || hash(password.expose_secret().as_bytes())).await
    }

    /// Whether the password matches. Without a verifier (nobody has this name) it costs the same and is `false`.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub async fn verify(&self, password: SecretString, verifier: Option<String>) -> Result<bool, PasswordError> {
        let known = verifier.is_some();
        let verifier = verifier.unwrap_or_else(|| self.nobody.clone());
        self.blocking(move || {
            let parsed =
                argon2::PasswordHash::new(&verifier).map_err(|error| PasswordError::Broken(error.to_string()))?;
            Ok(Argon2::default().verify_password(password.expose_secret().as_bytes(), &parsed).is_ok() && known)
        })
        .await
    }
}

/// Argon2id with 19 MiB, two passes, one lane.
fn hash(password: &[u8]) -> Result<String, PasswordError> {
    Argon2::default()
        .hash_password(password)
        .map(|hash| hash.to_string())
        .map_err(|error| PasswordError::Broken(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_verifier_only() {
        let passwords = Passwords::new().unwrap();
        let verifier = passwords.hash("correct horse".into()).await.unwrap();
        assert!(verifier.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{verifier}");
        assert!(passwords.verify("correct horse".into(), Some(verifier.clone())).await.unwrap());
        assert!(!passwords.verify("battery staple".into(), Some(verifier)).await.unwrap());
        assert!(!passwords.verify("nobody has this password".into(), None).await.unwrap());
    }

    #[tokio::test]
    async fn beyond_the_queue_the_answer_is_busy() {
        let passwords = Passwords::new().unwrap();
        let all = u32::try_from(passwords.admitted.available_permits()).unwrap();
        let _taken = passwords.admitted.acquire_many(all).await.unwrap();
        assert!(matches!(passwords.hash("x".into()).await, Err(PasswordError::Busy)));
    }
}
