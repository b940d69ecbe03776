//! The election: the replica that holds the lease, a key in a KV bucket, leads.
//!
//! The bucket drops the key [`LEADER_LEASE`] after the last renewal. A term ends when the lease can't be renewed in time.
//! Safety never depends on the election: every write of a leader carries an expectation or a fence. Nor does any write
//! carry the lease's revision, so the stream of the lease may begin anew.

use std::time::{Duration, Instant};

use async_nats::jetstream::Context;
use async_nats::jetstream::kv::{CreateErrorKind, Entry, EntryError, Operation, Store};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::absence::{Presence, Renewals, is_absent};
use super::fitness::Fitness;
use crate::broker::streams::remake::{self, StreamSight};
use crate::broker::streams::{LEADER_KEY, LEADER_LEASE, LEADER_STREAM};
use crate::common::error::chain;

/// How often the leader renews the lease.
const RENEW_INTERVAL: Duration = Duration::from_millis(500);
/// How often the others look whether the lease is free.
const CAMPAIGN_INTERVAL: Duration = Duration::from_millis(250);
/// How long one question or attempt of the others may take. While the lease's stream gets another leader, messages are lost;
/// the next attempt must not wait for the outcome of such a one.
const CAMPAIGN_TIMEOUT: Duration = Duration::from_secs(1);
/// A leader that can't renew for this long steps down, before another replica can acquire the lease.
const STEP_DOWN_AFTER: Duration = Duration::from_millis(3_500);
const _: () = assert!(STEP_DOWN_AFTER.as_millis() + RENEW_INTERVAL.as_millis() < LEADER_LEASE.as_millis());

/// How often a leader that gave the lease up checks whether another replica has it.
const HAND_OVER_INTERVAL: Duration = Duration::from_millis(100);

/// How long a replica that isn't fit to lead leaves a free lease to others.
const UNFIT_DELAY: Duration = Duration::from_secs(3);

/// A server leads.
#[derive(Debug, thiserror::Error)]
#[error("a server is running: {leader} holds the leader's lease; stop every server first")]
pub struct LeaseHeld {
    leader: String,
}

/// What ends this replica's part in the election.
#[derive(Debug, Clone)]
pub struct TermEnd {
    /// This replica no longer campaigns. If it leads, it gives the lease up and leads on until another replica has it.
    pub resign: CancellationToken,
    /// The roles stop.
    pub cancel: CancellationToken,
}

/// Who holds the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lease {
    /// Nobody, or the broker does not say.
    Free,
    /// This replica, at this revision.
    Own(u64),
    /// Another replica.
    Held,
}

/// This replica's part in the election.
pub struct Election {
    js: Context,
    bucket: Store,
    name: String,
}

impl Election {
    /// For a replica with this name.
    pub const fn new(js: Context, bucket: Store, name: String) -> Self {
        Self { js, bucket, name }
    }

    /// Waits until this replica acquires the lease; returns its revision, the expectation of the first renewal.
    async fn acquire(&self) -> u64 {
        loop {
            if let Some(revision) = self.try_acquire().await {
                return revision;
            }
            tokio::time::sleep(CAMPAIGN_INTERVAL).await;
        }
    }

    async fn try_acquire(&self) -> Option<u64> {
        let create = self.bucket.create(LEADER_KEY, self.name.clone().into());
        match timeout(CAMPAIGN_TIMEOUT, create).await {
            Ok(Ok(revision)) => return Some(revision),
            Ok(Err(error)) if error.kind() == CreateErrorKind::AlreadyExists => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "could not try to acquire the lease");
                self.create_missing_stream().await;
            }
            Err(_) => tracing::debug!("no answer to the attempt to acquire the lease"),
        }
        None
    }

    /// Renews a lease that is this replica's, if it still is: an attempt was stored whose answer was lost.
    async fn resume(&self, revision: u64) -> Option<u64> {
        let update = self.bucket.update(LEADER_KEY, self.name.clone().into(), revision);
        timeout(CAMPAIGN_TIMEOUT, update).await.ok()?.ok()
    }

    /// The stream of the lease is in memory: a single node that was restarted has none.
    async fn create_missing_stream(&self) {
        if timeout(CAMPAIGN_TIMEOUT, remake::look(&self.js, LEADER_STREAM)).await != Ok(StreamSight::Missing) {
            return;
        }
        let copies = self.bucket.stream.cached_info().config.num_replicas;
        match remake::create(&self.js, LEADER_STREAM, copies).await {
            Ok(()) => tracing::info!("the stream of the leader's lease was created again"),
            Err(error) => tracing::warn!(error = chain(&error), "the stream of the leader's lease can't be created"),
        }
    }

    /// Like [`Election::acquire`], but while this replica isn't fit, it acquires a free lease only after [`UNFIT_DELAY`].
    async fn campaign(&self, fitness: &Fitness) -> u64 {
        let mut free_since: Option<Instant> = None;
        let mut renewals = Renewals::default();
        loop {
            let found = self.look(&mut renewals).await;
            if let Lease::Own(revision) = found
                && let Some(revision) = self.resume(revision).await
            {
                return revision;
            }
            free_since = if found == Lease::Free { free_since.or_else(|| Some(Instant::now())) } else { None };
            if let Some(since) = free_since
                && (since.elapsed() >= UNFIT_DELAY || fitness.is_fit().await)
                && let Some(revision) = self.try_acquire().await
            {
                return revision;
            }
            tokio::time::sleep(CAMPAIGN_INTERVAL).await;
        }
    }

    /// Who holds the lease. Removes that of a process that is gone.
    async fn look(&self, renewals: &mut Renewals) -> Lease {
        let lease = timeout(CAMPAIGN_TIMEOUT, self.bucket.entry(LEADER_KEY)).await;
        let Some(lease) = lease.ok().and_then(Result::ok).flatten().filter(is_held) else {
            renewals.reset();
            return Lease::Free;
        };
        if lease.value == self.name.as_bytes() {
            return Lease::Own(lease.revision);
        }
        let holder = String::from_utf8_lossy(&lease.value);
        if !renewals.have_stopped(lease.revision, Instant::now()) || !is_absent(&self.js.client(), &holder).await {
            return Lease::Held;
        }
        // Fails if it was renewed or removed meanwhile.
        let delete = self.bucket.delete_expect_revision(LEADER_KEY, Some(lease.revision));
        if !matches!(timeout(CAMPAIGN_TIMEOUT, delete).await, Ok(Ok(()))) {
            return Lease::Held;
        }
        tracing::info!(leader = %holder, "the leader is gone: its lease is free");
        renewals.reset();
        Lease::Free
    }

    /// Shows the others that this process is there.
    async fn show_presence(&self) -> Option<Presence> {
        // Without it, the lease is lost when it can't be renewed for a moment.
        Presence::show(&self.js.client(), &self.name)
            .await
            .inspect_err(|error| tracing::warn!(%error, "the other replicas can't see that this one is connected"))
            .ok()
    }

    /// Renews until the lease is lost.
    async fn renew_until_lost(&self, mut revision: u64) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RENEW_INTERVAL).await;
            let sent = Instant::now();
            let renewal = self.bucket.update(LEADER_KEY, self.name.clone().into(), revision);
            match timeout(STEP_DOWN_AFTER.saturating_sub(renewed.elapsed()), renewal).await {
                Ok(Ok(next)) => (revision, renewed) = (next, sent),
                Ok(Err(error)) if renewed.elapsed() < STEP_DOWN_AFTER && !is_lost(&error) => {
                    tracing::debug!(%error, "could not renew the lease; retrying");
                }
                outcome => {
                    tracing::warn!(?outcome, "lease lost");
                    return;
                }
            }
        }
    }

    /// Deletes the lease if it is this replica's, so that a successor need not wait until it expires.
    async fn release(&self) {
        let current = self.bucket.entry(LEADER_KEY).await.ok().flatten();
        if let Some(entry) = current.filter(|entry| entry.value == self.name.as_bytes()) {
            let _ = self.bucket.delete_expect_revision(LEADER_KEY, Some(entry.revision)).await;
        }
    }

    /// Runs `work` while holding the lease without leading, so that no server's roles run. Drops `work` if a server
    /// acquires the lease.
    ///
    /// # Errors
    /// [`LeaseHeld`] if a server leads.
    pub async fn run_holding_lease<T>(self, work: impl Future<Output = T>) -> Result<T, LeaseHeld> {
        let _presence = self.show_presence().await;
        let mut revision = self.acquire_if_free().await?;
        let renewal = async {
            loop {
                self.renew_until_lost(revision).await;
                // The broker may have been away for longer than the lease lasts.
                match self.acquire_if_free().await {
                    Ok(again) => revision = again,
                    Err(error) => return error,
                }
            }
        };
        tokio::select! {
            outcome = work => {
                self.release().await;
                Ok(outcome)
            }
            error = renewal => Err(error),
        }
    }

    /// Acquires the lease unless a running server holds it. The lease of a killed server expires meanwhile; a running
    /// one renews it.
    async fn acquire_if_free(&self) -> Result<u64, LeaseHeld> {
        loop {
            if let Ok(revision) = timeout(LEADER_LEASE + 2 * RENEW_INTERVAL, self.acquire()).await {
                return Ok(revision);
            }
            if let Ok(Some(entry)) = self.bucket.entry(LEADER_KEY).await {
                return Err(LeaseHeld { leader: String::from_utf8_lossy(&entry.value).into_owned() });
            }
        }
    }

    /// Gives the lease up, and returns as soon as another replica has it.
    async fn hand_over(&self) {
        loop {
            match self.bucket.entry(LEADER_KEY).await {
                // A renewal that was under way may have been stored after an earlier release.
                Ok(Some(entry)) if is_held(&entry) && entry.value == self.name.as_bytes() => self.release().await,
                Ok(Some(entry)) if is_held(&entry) => return,
                _ => {}
            }
            tokio::time::sleep(HAND_OVER_INTERVAL).await;
        }
    }

    /// Campaigns until `end.resign`. Runs `term` whenever this replica is elected, and cancels it when the lease is lost
    /// or this replica yields to another. Returns after `end.cancel`.
    pub async fn run<F>(self, fitness: Fitness, end: TermEnd, mut term: impl FnMut(CancellationToken) -> F)
    where
        F: Future<Output = ()>,
    {
        let TermEnd { resign, cancel } = end;
        let _presence = self.show_presence().await;
        while let Some(revision) = resign.run_until_cancelled(self.campaign(&fitness)).await {
            tracing::info!(replica = self.name, "this replica is the leader");
            let end_term = cancel.child_token();
            let work = term(end_term.clone());
            tokio::pin!(work);
            let (mut ended, mut yields) = (false, false);
            tokio::select! {
                () = &mut work => ended = true,
                () = self.renew_until_lost(revision) => {}
                () = fitness.until_should_yield() => yields = true,
                () = resign.cancelled() => {}
            }
            if resign.is_cancelled() && !ended {
                // The roles run on until another replica leads: this one may be the only one, and commands in flight
                // need a leader. The terms may overlap, because every write is fenced.
                tokio::select! {
                    () = &mut work => ended = true,
                    () = self.hand_over() => {}
                    () = cancel.cancelled() => {}
                }
            }
            end_term.cancel();
            if yields {
                // Before the roles have stopped: they may hang on the database that this replica can't reach.
                self.release().await;
            }
            // A completed future must not be polled again.
            if !ended {
                work.await;
            }
            tracing::info!(replica = self.name, "this replica is no longer the leader");
        }
        // The attempt to acquire the lease that was interrupted may have been stored.
        self.release().await;
        cancel.cancelled().await;
    }
}

/// Whether a replica holds the lease.
///
/// # Errors
/// The bucket can't be read.
pub async fn has_leader(bucket: &Store) -> Result<bool, EntryError> {
    // A released lease leaves a delete marker.
    Ok(bucket.entry(LEADER_KEY).await?.is_some_and(|entry| is_held(&entry)))
}

fn is_held(lease: &Entry) -> bool {
    lease.operation == Operation::Put
}

/// Whether another replica holds the lease now; other errors are temporary.
fn is_lost(error: &async_nats::jetstream::kv::UpdateError) -> bool {
    error.kind() == async_nats::jetstream::kv::UpdateErrorKind::WrongLastRevision
}
