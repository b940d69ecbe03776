//! Passwords: Argon2id on threads of its own behind a bounded queue.
//!
//! In: a password, and a verifier to hold it against. Out: a new verifier, or whether it matches. Each hash takes
//! 19 MiB and some 20 ms of one processor, so there are as many threads as processors, only so much may wait, and
//! beyond that the answer is "busy" at once. A thread keeps its memory from one hash to the next, and gives it back
//! when nobody has signed in for a while.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;

use super::argon::HashMemory;

/// Hashes that may wait; at 20 ms each that is a few seconds.
const MAX_QUEUED_HASHES: usize = 256;
/// A thread that had nothing to do for so long gives its memory back.
const IDLE_BEFORE_FREEING_MEMORY: Duration = Duration::from_secs(30);

/// The pool did not hash.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too many wait already.
    #[error("too many passwords are being checked")]
    Busy,
    /// The hash itself failed: a fault of ours.
    #[error("the password could not be hashed: {0}")]
    Failed(String),
}

type HashJob = Box<dyn FnOnce(&mut HashMemory) + Send>;

/// The pool. Its threads end when it is dropped.
pub struct Passwords {
    jobs: Sender<HashJob>,
    dummy_verifier: String,
}

impl Passwords {
    /// A pool as wide as the machine.
    ///
    /// # Errors
    /// If Argon2 does not work here at all, or there are no threads.
    pub fn new() -> Result<Self, PasswordError> {
        let (jobs, waiting) = bounded(MAX_QUEUED_HASHES);
        for number in 0..thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            let waiting = waiting.clone();
            thread::Builder::new()
                .name(format!("passwords-{number}"))
                .spawn(move || work(&waiting))
                .map_err(|error| PasswordError::Failed(error.to_string()))?;
        }
        Ok(Self { jobs, dummy_verifier: HashMemory::default().hash(b"nobody has this password").map_err(hash_failed)? })
    }

    /// Has it done by one of the threads; it is done to its end also when nobody waits for it any more.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut HashMemory) -> argon2::password_hash::Result<T> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let (tell, told) = oneshot::channel();
        let job: HashJob = Box::new(move |memory| {
            // Nobody waits any more: fine.
            let _ = tell.send(work(memory).map_err(hash_failed));
        });
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => PasswordError::Busy,
            TrySendError::Disconnected(_) => PasswordError::Failed("the threads have ended".to_owned()),
        })?;
        told.await.unwrap_or_else(|_| Err(PasswordError::Failed("the thread panicked".to_owned())))
    }

    /// A verifier (PHC string) of this password.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub async fn hash(&self, password: SecretString) -> Result<String, PasswordError> {
        self.run(move |memory| memory.hash(password.expose_secret().as_bytes())).await
    }

    /// Whether the password matches. Without a verifier (nobody has this name) it costs the same and is `false`.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub async fn verify(&self, password: SecretString, verifier: Option<String>) -> Result<bool, PasswordError> {
        let has_verifier = verifier.is_some();
        let verifier = verifier.unwrap_or_else(|| self.dummy_verifier.clone());
        self.run(move |memory| Ok(memory.matches(password.expose_secret().as_bytes(), &verifier)? && has_verifier))
            .await
    }
}

/// One thread: job after job, until the pool is gone.
fn work(waiting: &Receiver<HashJob>) {
    let mut memory = HashMemory::default();
    loop {
        match waiting.recv_timeout(IDLE_BEFORE_FREEING_MEMORY) {
            // A panic ends one job, whose caller is told, and not the thread.
            Ok(job) => drop(catch_unwind(AssertUnwindSafe(|| job(&mut memory)))),
            Err(RecvTimeoutError::Timeout) => memory = HashMemory::default(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn hash_failed(error: argon2::password_hash::Error) -> PasswordError {
    PasswordError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_verifier_only() {
        let passwords = Passwords::new().unwrap();
        let verifier = passwords.hash("correct horse".into()).await.unwrap();
        assert!(passwords.verify("correct horse".into(), Some(verifier.clone())).await.unwrap());
        assert!(!passwords.verify("battery staple".into(), Some(verifier)).await.unwrap());
        assert!(!passwords.verify("nobody has this password".into(), None).await.unwrap());
    }

    #[tokio::test]
    async fn beyond_the_queue_the_answer_is_busy() {
        let passwords = Passwords::new().unwrap();
        let (release, released) = bounded(0);
        let threads = thread::available_parallelism().unwrap().get();
        let begun: Vec<_> = (0..threads).map(|_| waits_for(&released, &passwords)).collect();
        // Once every thread is in a job, nothing leaves the queue any more.
        for job in begun {
            job.await.unwrap();
        }
        for _ in 0..MAX_QUEUED_HASHES {
            drop(waits_for(&released, &passwords));
        }
        assert!(matches!(passwords.hash("x".into()).now_or_never(), Some(Err(PasswordError::Busy))));
        drop(release);
        // The queue empties, and there is room again.
        while passwords.jobs.try_send(Box::new(|_| ())).is_err() {
            tokio::task::yield_now().await;
        }
    }

    /// Queues a job that says when it has begun, and lasts until it is released.
    fn waits_for(released: &Receiver<()>, passwords: &Passwords) -> oneshot::Receiver<()> {
        let released = released.clone();
        let (begin, begun) = oneshot::channel();
        let job: HashJob = Box::new(move |_| {
            let _ = begin.send(());
            let _ = released.recv();
        });
        assert!(passwords.jobs.try_send(job).is_ok(), "the queue is full too early");
        begun
    }

    #[tokio::test]
    async fn a_job_that_panics_takes_no_thread_with_it() {
        let passwords = Passwords::new().unwrap();
        for _ in 0..2 * thread::available_parallelism().unwrap().get() {
            let broken = passwords.run::<()>(|_| panic!("on purpose")).await;
            assert!(matches!(broken, Err(PasswordError::Failed(_))), "{broken:?}");
        }
        assert!(passwords.hash("correct horse".into()).await.is_ok());
    }
}
