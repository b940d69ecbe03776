//! Password hashing: Argon2id on a pool of threads behind a bounded queue.
//!
//! Each hash takes 19 MiB and about 20 ms of one CPU, so there are as many threads as CPUs. A full queue is an error at
//! once. A thread reuses its memory, and frees it after some time without a job.
//!
//! A password is hashed in Unicode's normal form C: systems differ in the code points that they send for the same keys.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;
use unicode_normalization::UnicodeNormalization;

use super::argon::HashMemory;

/// At 20 ms each, a few seconds.
const MAX_QUEUED_HASHES: usize = 256;
const IDLE_BEFORE_FREEING_MEMORY: Duration = Duration::from_secs(30);
/// The verifier of `nobody has this password`, which takes as long to check as a real one.
const DUMMY_VERIFIER: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$Xj1qK/wDJAbXXCt5VJAdGQ$LwnmL87MH34cnK4wsUFlJLlQpEhV2Ccq7WiOBFIBCDA";

/// A password was not hashed.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The queue is full.
    #[error("too many passwords are being checked")]
    Busy,
    /// The hash failed, which is a bug.
    #[error("the password could not be hashed: {0}")]
    Failed(String),
}

type HashJob = Box<dyn FnOnce(&mut HashMemory) + Send>;

/// The thread pool. Its threads end when it is dropped.
pub struct Passwords {
    jobs: Sender<HashJob>,
}

impl Passwords {
    /// A pool with one thread per CPU.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn new() -> Result<Self, PasswordError> {
        let (jobs, queued) = bounded(MAX_QUEUED_HASHES);
        for number in 0..thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            let queued = queued.clone();
            thread::Builder::new()
                .name(format!("passwords-{number}"))
                .spawn(move || work(&queued))
                .map_err(|error| PasswordError::Failed(error.to_string()))?;
        }
        Ok(Self { jobs })
    }

    /// Runs a job on one of the threads, to its end even if the caller is dropped.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut HashMemory) -> argon2::password_hash::Result<T> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let (sender, receiver) = oneshot::channel();
        let job: HashJob = Box::new(move |memory| {
            // Fails if the caller was dropped.
            let _ = sender.send(work(memory).map_err(hash_failed));
        });
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => PasswordError::Busy,
            TrySendError::Disconnected(_) => PasswordError::Failed("the threads have ended".to_owned()),
        })?;
        receiver.await.unwrap_or_else(|_| Err(PasswordError::Failed("the thread panicked".to_owned())))
    }

    /// Passwords that wait to be hashed.
    pub fn queued(&self) -> usize {
        self.jobs.len()
    }

    /// A verifier (PHC string) of this password.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub async fn hash(&self, password: SecretString) -> Result<String, PasswordError> {
        self.run(move |memory| memory.hash(normal_form(&password).expose_secret().as_bytes())).await
    }

    /// Whether the password matches. Without a verifier (an unknown user) the result is `false`, after the same time.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub async fn verify(&self, password: SecretString, verifier: Option<String>) -> Result<bool, PasswordError> {
        let has_verifier = verifier.is_some();
        let verifier = verifier.unwrap_or_else(|| DUMMY_VERIFIER.to_owned());
        self.run(move |memory| {
            let (raw, normal) = (password.expose_secret(), normal_form(&password));
            let mut matches = memory.matches(normal.expose_secret().as_bytes(), &verifier)?;
            // Verifiers of earlier versions are of the password as it was sent.
            if !matches && normal.expose_secret() != raw {
                matches = memory.matches(raw.as_bytes(), &verifier)?;
            }
            Ok(matches && has_verifier)
        })
        .await
    }
}

/// The same text for all ways to compose its characters.
fn normal_form(password: &SecretString) -> SecretString {
    password.expose_secret().nfc().collect::<String>().into()
}

/// Runs jobs until the pool is dropped.
fn work(jobs: &Receiver<HashJob>) {
    let mut memory = HashMemory::default();
    loop {
        match jobs.recv_timeout(IDLE_BEFORE_FREEING_MEMORY) {
            // A panic fails the job (its sender is dropped) but does not end the thread.
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
    async fn verify_matches_the_hash_of_the_same_password_only() {
        let passwords = Passwords::new().unwrap();
        let verifier = passwords.hash("correct horse".into()).await.unwrap();
        assert!(passwords.verify("correct horse".into(), Some(verifier.clone())).await.unwrap());
        assert!(!passwords.verify("battery staple".into(), Some(verifier)).await.unwrap());
        assert!(!passwords.verify("nobody has this password".into(), None).await.unwrap());
    }

    #[tokio::test]
    async fn dummy_verifier_takes_the_same_work_as_a_real_one() {
        let real = Passwords::new().unwrap().hash("correct horse".into()).await.unwrap();
        // All but the salt and the hash, and the lengths of these.
        let work = |verifier: &str| {
            let mut parts: Vec<_> = verifier.split('$').map(str::to_owned).collect();
            let secret = parts.split_off(4);
            (parts, secret.iter().map(String::len).collect::<Vec<_>>())
        };
        assert_eq!(work(DUMMY_VERIFIER), work(&real));
        assert_eq!(work(&real).1.len(), 2, "{real}");
        // So the pool refuses a match of the dummy, and not just another password.
        assert!(HashMemory::default().matches(b"nobody has this password", DUMMY_VERIFIER).unwrap());
    }

    #[tokio::test]
    async fn verify_matches_all_compositions_of_the_same_characters() {
        let (composed, decomposed) = ("p\u{e4}ssw\u{f6}rd", "pa\u{308}sswo\u{308}rd");
        let passwords = Passwords::new().unwrap();
        for hashed in [composed, decomposed] {
            let verifier = passwords.hash(hashed.into()).await.unwrap();
            for sent in [composed, decomposed] {
                assert!(passwords.verify(sent.into(), Some(verifier.clone())).await.unwrap(), "{hashed} {sent}");
            }
        }
        let before = HashMemory::default().hash(decomposed.as_bytes()).unwrap();
        assert!(passwords.verify(decomposed.into(), Some(before)).await.unwrap(), "a verifier of an earlier version");
    }

    #[tokio::test]
    async fn hash_full_queue_is_busy() {
        let passwords = Passwords::new().unwrap();
        let (release, released) = bounded(0);
        let threads = thread::available_parallelism().unwrap().get();
        let started: Vec<_> = (0..threads).map(|_| queue_blocking_job(&released, &passwords)).collect();
        // Once every thread runs a job, no job leaves the queue.
        for job in started {
            job.await.unwrap();
        }
        for _ in 0..MAX_QUEUED_HASHES {
            drop(queue_blocking_job(&released, &passwords));
        }
        assert!(matches!(passwords.hash("x".into()).now_or_never(), Some(Err(PasswordError::Busy))));
        drop(release);
        // The queue empties.
        while passwords.jobs.try_send(Box::new(|_| ())).is_err() {
            tokio::task::yield_now().await;
        }
    }

    /// Queues a job that reports when it starts, and lasts until `released` is closed.
    fn queue_blocking_job(released: &Receiver<()>, passwords: &Passwords) -> oneshot::Receiver<()> {
        let released = released.clone();
        let (start, started) = oneshot::channel();
        let job: HashJob = Box::new(move |_| {
            let _ = start.send(());
            let _ = released.recv();
        });
        assert!(passwords.jobs.try_send(job).is_ok(), "the queue is full too early");
        started
    }

    #[tokio::test]
    async fn job_panic_does_not_end_its_thread() {
        let passwords = Passwords::new().unwrap();
        for _ in 0..2 * thread::available_parallelism().unwrap().get() {
            let broken = passwords.run::<()>(|_| panic!("on purpose")).await;
            assert!(matches!(broken, Err(PasswordError::Failed(_))), "{broken:?}");
        }
        assert!(passwords.hash("correct horse".into()).await.is_ok());
    }
}
