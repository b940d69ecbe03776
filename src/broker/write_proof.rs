//! When the broker last proved that it stores.
//!
//! A broker that can't store still answers reads: its disk is full, a stream has lost its leader, or the node is on the
//! smaller side of a network partition. Only an acknowledged write proves that it stores, because on a cluster most nodes
//! must have the message before it is acknowledged.
//!
//! Recorded by each acknowledged append to EVENTS, and while there are none by the
//! [write probe](super::write_probe). After an append to EVENTS that got no acknowledgement, only one in EVENTS counts: a
//! broker whose disk was full may store in other streams, but no more in this one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// When the last write that the broker acknowledged to this process began, by the monotonic clock.
#[derive(Debug)]
pub struct WriteProof(Mutex<Times>);

#[derive(Debug)]
struct Times {
    /// When the last acknowledged write began.
    proven: Instant,
    /// The same, of writes to EVENTS only.
    in_log: Instant,
    /// When the last write to EVENTS began that was not acknowledged.
    failed: Option<Instant>,
}

impl WriteProof {
    /// Without an acknowledged write so far: its age counts from now.
    #[must_use]
    pub fn new() -> Self {
        let now = Instant::now();
        Self(Mutex::new(Times { proven: now, in_log: now, failed: None }))
    }

    /// Records an acknowledged write to EVENTS that began at `began`: only then is it certain that the broker could store
    /// at a time not before that. The reply to a repeated message is no proof, because the broker gives it from memory.
    pub fn record(&self, began: Instant) {
        let mut times = self.times();
        times.in_log = times.in_log.max(began);
        times.proven = times.proven.max(began);
    }

    /// Records an acknowledged write to another stream; it proves nothing while [`WriteProof::is_doubted`].
    pub fn record_probe(&self, began: Instant) {
        let mut times = self.times();
        if !times.is_doubted() {
            times.proven = times.proven.max(began);
        }
    }

    /// Records a write to EVENTS that was refused by the store, or not answered.
    pub fn record_failure(&self, began: Instant) {
        let mut times = self.times();
        times.failed = times.failed.max(Some(began));
    }

    /// Whether the last write to EVENTS failed, so that only another one proves that EVENTS is stored.
    #[must_use]
    pub fn is_doubted(&self) -> bool {
        self.times().is_doubted()
    }

    /// When the last write to EVENTS began, if it was not acknowledged.
    #[must_use]
    pub fn doubted_since(&self) -> Option<Instant> {
        let times = self.times();
        times.failed.filter(|_| times.is_doubted())
    }

    /// How long ago the last acknowledged write began.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.times().proven.elapsed()
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Times {
    fn is_doubted(&self) -> bool {
        self.failed.is_some_and(|failed| failed > self.in_log)
    }
}

impl Default for WriteProof {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn write_proof_age_counts_from_the_begin_of_the_last_write() {
        let proof = WriteProof::new();
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(proof.age(), Duration::from_secs(7), "nothing was acknowledged yet");
        let began = Instant::now();
        tokio::time::advance(Duration::from_secs(2)).await;
        proof.record(began);
        assert_eq!(proof.age(), Duration::from_secs(2));
        // The reply to an earlier write arrives late.
        proof.record(began - Duration::from_secs(5));
        assert_eq!(proof.age(), Duration::from_secs(2));
    }
    #[tokio::test(start_paused = true)]
    async fn write_proof_after_a_failed_append_counts_only_writes_to_the_log() {
        let proof = WriteProof::new();
        let second = Duration::from_secs(1);
        tokio::time::advance(second).await;
        proof.record_failure(Instant::now());
        tokio::time::advance(second).await;
        proof.record_probe(Instant::now());
        assert_eq!((proof.is_doubted(), proof.age()), (true, 2 * second));
        proof.record(Instant::now());
        assert_eq!((proof.is_doubted(), proof.age()), (false, Duration::ZERO));
        // An earlier append is given up after a later one was acknowledged.
        proof.record_failure(Instant::now() - second);
        tokio::time::advance(second).await;
        proof.record_probe(Instant::now());
        assert_eq!((proof.is_doubted(), proof.age()), (false, Duration::ZERO));
    }
}
