//! The writer: one snapshot at a time, off the path of every command.
//!
//! In: states from the queue. Out: sealed snapshots in the store; or nothing, if the owner's key is gone, the state is
//! too large for one document, or the store is away. What was left out is offered again when the aggregate has grown.

use std::sync::Arc;

use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::ids::{EventId, PrincipalId};
use dockhost_domain::subject::AggregateId;
use dockhost_projections::store::Snapshot;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Keeper, binding};
use crate::event_log::Cause;
use crate::execute::cache::Held;

/// Bytes of a sealed state that are kept: below the database's limit of 16 MiB, with room for the command around it.
pub const LARGEST: usize = 14 * 1024 * 1024;

/// A state to be kept.
pub(super) struct Job {
    aggregate: AggregateId,
    principal: PrincipalId,
    fold_version: u32,
    sequence: u64,
    event: EventId,
    state: Box<dyn FnOnce() -> serde_json::Result<Vec<u8>> + Send>,
}

impl Job {
    /// None for what has no snapshots.
    pub(super) fn of<A: Aggregate>(id: A::Id, held: &Held<A>) -> Option<Self> {
        let aggregate = A::subject(id);
        let (principal, event) = (aggregate.sealed_under()?, held.event()?);
        let (fold_version, sequence, state) = (A::FOLD_VERSION, held.sequence, Arc::clone(&held.state));
        let state = Box::new(move || serde_json::to_vec(&*state));
        Some(Self { aggregate, principal, fold_version, sequence, event, state })
    }
}

/// Writes what the keeper was offered.
pub struct Writer {
    keeper: Arc<Keeper>,
    jobs: mpsc::Receiver<Job>,
}

impl Writer {
    pub(super) const fn new(keeper: Arc<Keeper>, jobs: mpsc::Receiver<Job>) -> Self {
        Self { keeper, jobs }
    }

    /// Writes until cancelled; one that is being written is finished.
    pub async fn run(mut self, cancel: CancellationToken) {
        while let Some(Some(job)) = cancel.run_until_cancelled(self.jobs.recv()).await {
            if self.keeper.rests() {
                continue;
            }
            if let Err(error) = self.write(job).await {
                self.keeper.failed::<()>(&*error);
            }
        }
    }

    async fn write(&self, job: Job) -> Result<(), Cause> {
        // No key is made for it: where there is none, there is nobody (any more) whose state could be kept.
        let Ok(cipher) = self.keeper.keyring.for_opening(job.principal).await else { return Ok(()) };
        let mut snapshot = Snapshot {
            subject: job.aggregate.to_string(),
            incarnation: self.keeper.incarnation.clone(),
            fold_version: job.fold_version,
            sequence: job.sequence,
            event: job.event,
            state: Vec::new(),
        };
        let bound_to = binding(&snapshot);
        let sealed = tokio::task::spawn_blocking(move || {
            let plain = (job.state)()?;
            cipher.seal(&bound_to, plain).ok_or_else(|| Cause::from("no random bytes could be had"))
        });
        snapshot.state = sealed.await??;
        let bytes = snapshot.state.len();
        if bytes > LARGEST {
            let subject = &snapshot.subject;
            tracing::warn!(subject, bytes, most = LARGEST, "a state is too large for a snapshot; cold loads are slow");
            return Ok(());
        }
        self.keeper.store.put(snapshot).await
    }
}
