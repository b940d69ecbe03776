//! Barriers: proofs that a read is current, on a cluster.
//!
//! A leader of EVENTS that was deposed answers reads from its own copy until it notices, so no answer of "the leader"
//! shows that nothing newer was acknowledged. A publish to EVENTS that a quorum acknowledged does: it has a sequence, and
//! everything that was acknowledged before the publish began has a lower one. So a read that includes everything up to
//! that sequence is current as of the publish. A barrier is such a publish without content; an append does as well.
//!
//! One barrier in flight serves all who asked before it began; the next one, all who asked meanwhile. Barriers are paced,
//! because each stays in the log for ever.
//!
//! - `rounds`: the decisions, pure.

mod rounds;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::common::error::Cause;
use rounds::{Rounds, Step};

pub use rounds::Failure;

/// How long a question waits for its proof: a replica that is cut off answers well within a request's timeout.
const PROOF_TIMEOUT: Duration = Duration::from_millis(2500);
/// How long one barrier waits for its acknowledgement.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause before the next barrier after one that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// How recent the proof of a read must be.
#[derive(Debug, Clone, Copy)]
pub enum Freshness {
    /// The read shows everything that was acknowledged before this moment. With the moment of the question or a later
    /// one the read is linearizable.
    Since(Instant),
    /// The read shows everything that was acknowledged at least this long ago. Usually no barrier is needed, because
    /// another question or append was proof.
    Within(Duration),
}

impl Freshness {
    /// The read shows everything that was acknowledged before now.
    #[must_use]
    pub fn now() -> Self {
        Self::Since(Instant::now())
    }

    /// When the proof may have begun at the earliest.
    fn earliest(self, now: Instant) -> Instant {
        match self {
            Self::Since(moment) => moment,
            Self::Within(age) => now.checked_sub(age).unwrap_or(now),
        }
    }
}

/// What a read must include to be current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The log has one copy: each answer of its broker is current.
    SingleCopy,
    /// Everything up to this sequence.
    UpTo(u64),
}

/// One attempt to publish a barrier: its sequence, or why there is none.
pub type Attempt = BoxFuture<'static, Result<u64, Failure>>;

/// The proofs of one replica.
#[derive(Debug)]
pub struct Barriers {
    epoch: Instant,
    rounds: Mutex<Rounds>,
    /// Changes with each proof and each failure.
    changed: watch::Sender<()>,
}

impl Default for Barriers {
    fn default() -> Self {
        Self { epoch: Instant::now(), rounds: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

impl Barriers {
    /// Records a publish to the log that a quorum acknowledged: when it began, and its sequence.
    pub fn record(&self, began: Instant, sequence: u64) {
        self.rounds().record(self.since_epoch(began), sequence);
        self.changed.send_replace(());
    }

    /// The sequence of a publish that is recent enough; makes barriers with `attempt` until there is one.
    ///
    /// # Errors
    /// No quorum has acknowledged one in time, or it can't be published.
    pub async fn prove(self: &Arc<Self>, freshness: Freshness, attempt: impl Fn() -> Attempt) -> Result<u64, Cause> {
        let deadline = Instant::now() + PROOF_TIMEOUT;
        let earliest = self.since_epoch(freshness.earliest(Instant::now()));
        let mut asked = self.since_epoch(Instant::now());
        loop {
            // Subscribed before the step, so that no change is missed.
            let mut changed = self.changed.subscribe();
            let now = Instant::now();
            let step = self.rounds().step(earliest, asked, self.since_epoch(now));
            let pause_until = match step {
                Step::Proven(sequence) => return Ok(sequence),
                Step::Failed(failure) if failure.is_final || now + RETRY_PAUSE >= deadline => {
                    return Err(failure.why.into());
                }
                Step::Failed(_) => {
                    sleep_until(now + RETRY_PAUSE).await;
                    asked = self.since_epoch(Instant::now());
                    continue;
                }
                Step::Begin => {
                    self.begin(now, attempt());
                    deadline
                }
                Step::Wait => deadline,
                Step::Pause(pause) => deadline.min(now + pause),
            };
            // The sender lives in `self`, so only the time can end the wait early.
            let waited = timeout_at(pause_until, changed.changed()).await;
            if waited.is_err() && Instant::now() >= deadline {
                return Err("no quorum of the broker has acknowledged a barrier in time".into());
            }
        }
    }

    /// Runs an attempt to its end, even if nobody waits for it any more.
    fn begin(self: &Arc<Self>, began: Instant, attempt: Attempt) {
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let outcome = attempt.await;
            this.rounds().end(this.since_epoch(began), outcome);
            this.changed.send_replace(());
        });
    }

    fn since_epoch(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.epoch)
    }

    fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
