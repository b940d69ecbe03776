//! Writes queued snapshots, one at a time, in the background.
//!
//! A snapshot is dropped if the owner's key is gone, the state is too large for one document, or the store is
//! unavailable; the aggregate is offered again after more events.

use std::sync::Arc;

use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::ids::{EventId, PrincipalId};
use dockhost_domain::subject::AggregateId;
use dockhost_projections::store::Snapshot;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Plain, SnapshotManager, binding};
use crate::common::error::Cause;
use crate::execute::cache::CachedState;

/// The largest sealed state that is stored: below MongoDB's document limit of 16 MiB, with room for the command.
pub const MAX_SEALED_BYTES: usize = 14 * 1024 * 1024;

/// A state to write.
pub(super) struct SnapshotRequest {
    aggregate: AggregateId,
    principal: PrincipalId,
    fold_version: u32,
    sequence: u64,
    events: u64,
    event: EventId,
    state: Box<dyn FnOnce() -> serde_json::Result<Vec<u8>> + Send>,
}

impl SnapshotRequest {
    /// `None` for aggregates that have no snapshots.
    pub(super) fn of<A: Aggregate>(id: A::Id, cached: &CachedState<A>) -> Option<Self> {
        let aggregate = A::subject(id);
        let (principal, event) = (aggregate.sealed_under()?, cached.event()?);
        let (fold_version, sequence, events) = (A::FOLD_VERSION, cached.sequence, cached.events());
        let (state, requests) = (Arc::clone(&cached.state), cached.requests().cloned());
        let state = Box::new(move || serde_json::to_vec(&Plain { state: &*state, requests: requests.as_deref() }));
        Some(Self { aggregate, principal, fold_version, sequence, events, event, state })
    }
}

/// Writes the snapshots that the manager has queued.
pub struct SnapshotWriter {
    manager: Arc<SnapshotManager>,
    requests: mpsc::Receiver<SnapshotRequest>,
}

impl SnapshotWriter {
    pub(super) const fn new(manager: Arc<SnapshotManager>, requests: mpsc::Receiver<SnapshotRequest>) -> Self {
        Self { manager, requests }
    }

    /// Writes until `cancel`; a write in progress is finished.
    pub async fn run(mut self, cancel: CancellationToken) {
        while let Some(Some(request)) = cancel.run_until_cancelled(self.requests.recv()).await {
            if self.manager.is_cooling_down() {
                continue;
            }
            if let Err(error) = self.write(request).await {
                self.manager.record_failure::<()>(&*error);
            }
        }
    }

    async fn write(&self, request: SnapshotRequest) -> Result<(), Cause> {
        // `for_opening` creates no key: an owner without a key was erased.
        let Ok(cipher) = self.manager.keyring.for_opening(request.principal).await else { return Ok(()) };
        let mut snapshot = Snapshot {
            subject: request.aggregate.to_string(),
            incarnation: self.manager.incarnation.clone(),
            fold_version: request.fold_version,
            sequence: request.sequence,
            events: request.events,
            event: request.event,
            state: Vec::new(),
        };
        let bound_to = binding(&snapshot);
        let sealed = tokio::task::spawn_blocking(move || {
            let plain = (request.state)()?;
            cipher.seal(&bound_to, plain).ok_or_else(|| Cause::from("the random generator failed"))
        });
        snapshot.state = sealed.await??;
        let bytes = snapshot.state.len();
        if bytes > MAX_SEALED_BYTES {
            let subject = &snapshot.subject;
            tracing::warn!(
                subject,
                bytes,
                max = MAX_SEALED_BYTES,
                "state too large for a snapshot; cold loads are slow"
            );
            return Ok(());
        }
        self.manager.store.put(snapshot).await
    }
}
