//! When the broker last proved that it stores.
//!
//! A broker that can't store still answers reads: its disk is full, a stream has lost its leader, or the node is on the
//! smaller side of a network partition. Only an acknowledged write proves that it stores, because on a cluster most nodes
//! must have the message before it is acknowledged.
//!
//! Recorded by each acknowledged append to EVENTS, and while there are none by the
//! [write probe](super::write_probe).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// When the last write that the broker acknowledged to this process began, by the monotonic clock.
#[derive(Debug)]
pub struct WriteProof(Mutex<Instant>);

impl WriteProof {
    /// Without an acknowledged write so far: its age counts from now.
    #[must_use]
    pub fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// Records an acknowledged write that began at `began`: only then is it certain that the broker could store at a time
    /// not before that. The reply to a repeated message is no proof, because the broker gives it from memory.
    pub fn record(&self, began: Instant) {
        let mut last = self.last();
        *last = (*last).max(began);
    }

    /// How long ago the last acknowledged write began.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.last().elapsed()
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
}
