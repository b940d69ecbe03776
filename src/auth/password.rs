//! Passwords: Argon2id on threads of its own behind a bounded queue.
//!
//! In: a password, and a verifier to hold it against. Out: a new verifier, or whether it matches. Each hash takes
//! 19 MiB and some 20 ms of one processor, so there are as many threads as processors, only so much may wait, and
//! beyond that the answer is "busy" at once. The threads are always the same ones because the allocator keeps what a
//! hash took for the thread that took it: on a shared blocking pool, each of its threads would come to hold 19 MiB.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;

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

type Job = Box<dyn FnOnce() + Send>;

/// The pool. Its threads end when it is dropped.
pub struct Passwords {
    jobs: SyncSender<Job>,
    nobody: String,
}

impl Passwords {
    /// A pool as wide as the machine.
    ///
    /// # Errors
    /// If Argon2 does not work here at all, or there are no threads.
    pub fn new() -> Result<Self, PasswordError> {
        let (jobs, waiting) = sync_channel(QUEUE);
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            let waiting = Arc::clone(&waiting);
            thread::Builder::new()
                .name(format!("passwords-{number}"))
                .spawn(move || work(&waiting))
                .map_err(|error| PasswordError::Broken(error.to_string()))?;
        }
        Ok(Self { jobs, nobody: hash(b"nobody has this password")? })
    }

    /// Has it done by one of the threads; it is done to its end also when nobody waits for it any more.
    async fn done<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Nobody waits any more: fine.
            let _ = tell.send(work());
        });
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => PasswordError::Busy,
            TrySendError::Disconnected(_) => PasswordError::Broken("the threads have ended".to_owned()),
        })?;
        told.await.unwrap_or_else(|_| Err(PasswordError::Broken("the thread panicked".to_owned())))
    }

    /// A verifier (PHC string) of this password.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub async fn hash(&self, password: SecretString) -> Result<String, PasswordError> {
        self.done(move || hash(password.expose_secret().as_bytes())).await
    }

    /// Whether the password matches. Without a verifier (nobody has this name) it costs the same and is `false`.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub async fn verify(&self, password: SecretString, verifier: Option<String>) -> Result<bool, PasswordError> {
        let known = verifier.is_some();
        let verifier = verifier.unwrap_or_else(|| self.nobody.clone());
        self.done(move || {
            let parsed =
                argon2::PasswordHash::new(&verifier).map_err(|error| PasswordError::Broken(error.to_string()))?;
            Ok(Argon2::default().verify_password(password.expose_secret().as_bytes(), &parsed).is_ok() && known)
        })
        .await
    }
}

/// One thread: job after job, until the pool is gone.
fn work(waiting: &Mutex<Receiver<Job>>) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // A panic ends one job, whose caller is told, and not the thread.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
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
    use futures::FutureExt;

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
        let held = Arc::new(Mutex::new(()));
        {
            let _held = held.lock().unwrap();
            let mut taken = 0;
            // Until all threads wait and the queue behind them is full.
            while passwords.jobs.try_send(waits_for(&held)).is_ok() {
                taken += 1;
            }
            assert!(taken >= QUEUE, "{taken}");
            assert!(matches!(passwords.hash("x".into()).now_or_never(), Some(Err(PasswordError::Busy))));
        }
        // The queue empties, and there is room again.
        while passwords.jobs.try_send(waits_for(&held)).is_err() {
            tokio::task::yield_now().await;
        }
    }

    fn waits_for(held: &Arc<Mutex<()>>) -> Job {
        let held = Arc::clone(held);
        Box::new(move || drop(held.lock()))
    }

    #[tokio::test]
    async fn a_job_that_panics_takes_no_thread_with_it() {
        let passwords = Passwords::new().unwrap();
        for _ in 0..2 * thread::available_parallelism().unwrap().get() {
            let broken = passwords.done::<()>(|| panic!("on purpose")).await;
            assert!(matches!(broken, Err(PasswordError::Broken(_))), "{broken:?}");
        }
        assert!(passwords.hash("correct horse".into()).await.is_ok());
    }
}
