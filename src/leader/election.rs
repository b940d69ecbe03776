//! The election: one lease in a KV bucket makes one replica the leader.
//!
//! In: the bucket (its entries expire after [`LEADER_LEASE`]) and this replica's name. Out: a term, which ends when the lease
//! could not be renewed in time. Electing is for order and efficiency; safety never rests on it: whatever a leader
//! writes carries an expectation or a fence, so a paused leader that wakes up does no harm.

use std::time::{Duration, Instant};

use async_nats::jetstream::kv::{CreateErrorKind, EntryError, Operation, Store};
use tokio_util::sync::CancellationToken;

use super::fitness::Fitness;
use crate::broker::streams::LEADER_LEASE;

/// How often the holder renews and the others try.
const RENEW_INTERVAL: Duration = Duration::from_secs(1);
/// A holder that could not renew for this long steps down, well before another can take over.
const STEP_DOWN_AFTER: Duration = Duration::from_millis(3_500);

/// Who gave way leaves the lease to the others for so long.
const YIELD_COOLDOWN: Duration = Duration::from_secs(10);

const KEY: &str = "leader";

/// The lease can't be had.
#[derive(Debug, thiserror::Error)]
#[error("a server runs: the leader's lease is held by {holder}; stop every server first")]
pub struct LeaseHeld {
    holder: String,
}

/// Who takes part in the election.
pub struct Election {
    bucket: Store,
    name: String,
}

impl Election {
    /// A replica by this name.
    pub fn new(bucket: Store, name: String) -> Self {
        Self { bucket, name }
    }

    /// Waits until this replica is elected; the revision is what renewals refer to.
    async fn acquire(&self) -> u64 {
        loop {
            match self.bucket.create(KEY, self.name.clone().into()).await {
                Ok(revision) => return revision,
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {}
                Err(error) => tracing::debug!(%error, "the lease can't be asked for"),
            }
            tokio::time::sleep(RENEW_INTERVAL).await;
        }
    }

    /// Renews until the lease is lost or given up.
    async fn renew_until_lost(&self, mut revision: u64) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RENEW_INTERVAL).await;
            let asked = Instant::now();
            let renewal = self.bucket.update(KEY, self.name.clone().into(), revision);
            match tokio::time::timeout(STEP_DOWN_AFTER.saturating_sub(renewed.elapsed()), renewal).await {
                Ok(Ok(next)) => (revision, renewed) = (next, asked),
                Ok(Err(error)) if renewed.elapsed() < STEP_DOWN_AFTER && !is_lost(&error) => {
                    tracing::debug!(%error, "the lease could not be renewed yet");
                }
                outcome => {
                    tracing::warn!(?outcome, "the lease is lost");
                    return;
                }
            }
        }
    }

    /// A successor need not wait for the lease to expire. Only our own is given back.
    async fn release(&self) {
        let current = self.bucket.entry(KEY).await.ok().flatten();
        if let Some(entry) = current.filter(|entry| entry.value == self.name.as_bytes()) {
            let _ = self.bucket.delete_expect_revision(KEY, Some(entry.revision)).await;
        }
    }

    /// Runs `work` while holding the lease and leading nothing, so that no server's roles run meanwhile. It is dropped
    /// if a server gets the lease.
    ///
    /// # Errors
    /// [`LeaseHeld`] if a server leads, at the beginning or later.
    pub async fn run_holding_lease<T>(self, work: impl Future<Output = T>) -> Result<T, LeaseHeld> {
        let mut revision = self.acquire_if_free().await?;
        let keep = async {
            loop {
                self.renew_until_lost(revision).await;
                // The broker may only have been away for longer than the lease lives.
                match self.acquire_if_free().await {
                    Ok(again) => revision = again,
                    Err(held) => return held,
                }
            }
        };
        tokio::select! {
            outcome = work => {
                self.release().await;
                Ok(outcome)
            }
            held = keep => Err(held),
        }
    }

    /// Waits for the lease as long as nobody living holds it: that of a server that was killed ends by itself, that of
    /// a living one is renewed.
    async fn acquire_if_free(&self) -> Result<u64, LeaseHeld> {
        loop {
            if let Ok(revision) = tokio::time::timeout(LEADER_LEASE + 2 * RENEW_INTERVAL, self.acquire()).await {
                return Ok(revision);
            }
            if let Ok(Some(entry)) = self.bucket.entry(KEY).await {
                return Err(LeaseHeld { holder: String::from_utf8_lossy(&entry.value).into_owned() });
            }
        }
    }

    /// Takes part until cancelled: runs `term` whenever this replica is elected, and cancels it when the lease ends, or
    /// when another replica is fitter to hold it.
    pub async fn run<F>(self, fitness: Fitness, cancel: CancellationToken, mut term: impl FnMut(CancellationToken) -> F)
    where
        F: Future<Output = ()>,
    {
        while let Some(revision) = cancel.run_until_cancelled(self.acquire()).await {
            tracing::info!(replica = self.name, "this replica leads");
            let over = cancel.child_token();
            let work = term(over.clone());
            tokio::pin!(work);
            let (mut ended, mut yields) = (false, false);
            tokio::select! {
                () = &mut work => ended = true,
                () = self.renew_until_lost(revision) => {}
                () = fitness.should_yield() => yields = true,
                () = cancel.cancelled() => {}
            }
            over.cancel();
            if yields {
                // Not after its roles have ended: they may hang on what this replica can't reach.
                self.release().await;
            }
            // A term that is over must not be asked again.
            if !ended {
                work.await;
            }
            if cancel.is_cancelled() {
                self.release().await;
            }
            tracing::info!(replica = self.name, "this replica leads no more");
            if yields {
                cancel.run_until_cancelled(tokio::time::sleep(YIELD_COOLDOWN)).await;
            }
        }
    }
}

/// Whether any replica leads now, as far as the bucket knows.
///
/// # Errors
/// The bucket can't be asked.
pub async fn has_leader(bucket: &Store) -> Result<bool, EntryError> {
    // A lease that was given back leaves a mark.
    Ok(bucket.entry(KEY).await?.is_some_and(|entry| entry.operation == Operation::Put))
}

/// Another holds the lease now, in contrast to: it could not be asked.
fn is_lost(error: &async_nats::jetstream::kv::UpdateError) -> bool {
    error.kind() == async_nats::jetstream::kv::UpdateErrorKind::WrongLastRevision
}
