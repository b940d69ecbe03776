//! The outbox: what the agent has to say, until the broker has stored it.
//!
//! In: reports, from the reconciler. Out: one request at a time per instance on `dockhost.report.<backend>`, sent
//! again with growing pauses until the broker acknowledges it. A report is a full observation, so a newer one of the
//! same instance replaces an older one that is still waiting; one that is under way is finished first, so that the
//! broker never sees two of one instance swapped. A repeated send carries the same message id, a new report a new one.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dockhost_domain::ids::InstanceId;
use dockhost_domain::wire::Report;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::clock;

/// Reports on their way at the same time.
const MAX_IN_FLIGHT_REPORTS: usize = 32;
/// How long the last reports may take after the agent was told to stop.
const SHUTDOWN_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a report wasn't stored; it is sent again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PublishError(pub String);

/// Where reports go.
pub trait ReportSink: Send + Sync {
    /// Sends it once; `Ok` means that it is stored.
    fn send(&self, report: &Report, message_id: &str) -> impl Future<Output = Result<(), PublishError>> + Send;
}

/// The reports that wait; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Outbox(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<HashMap<InstanceId, Report>>,
    added: Notify,
}

impl Outbox {
    /// Says this as soon as possible, in place of what waits of the same instance.
    pub fn put(&self, report: Report) {
        self.waiting().insert(report.instance_id, report);
        self.0.added.notify_one();
    }

    /// Reports that wait, those under way not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting().len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends until told to stop, and then what is left for a moment longer.
    pub async fn run(&self, sink: &impl ReportSink, stop: &CancellationToken) {
        let mut in_flight = FuturesUnordered::new();
        let mut instances: Vec<InstanceId> = Vec::new();
        let mut flush_deadline = pin!(async {
            stop.cancelled().await;
            tokio::time::sleep(SHUTDOWN_FLUSH_TIMEOUT).await;
        });
        loop {
            while in_flight.len() < MAX_IN_FLIGHT_REPORTS
                && let Some(report) = self.next(&instances)
            {
                instances.push(report.instance_id);
                in_flight.push(send_until_stored(sink, report));
            }
            if stop.is_cancelled() && in_flight.is_empty() {
                return;
            }
            tokio::select! {
                Some(done) = in_flight.next() => instances.retain(|instance| *instance != done),
                () = self.0.added.notified() => {}
                () = stop.cancelled(), if in_flight.is_empty() => {}
                () = &mut flush_deadline => {
                    tracing::warn!(unsent = in_flight.len() + self.len(), "stopping with reports that are not stored");
                    return;
                }
            }
        }
    }

    /// Takes one that waits and whose instance has none under way.
    fn next(&self, in_flight: &[InstanceId]) -> Option<Report> {
        let mut waiting = self.waiting();
        let instance = waiting.keys().find(|instance| !in_flight.contains(instance)).copied()?;
        waiting.remove(&instance)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<InstanceId, Report>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends one report until it is stored.
async fn send_until_stored(sink: &impl ReportSink, report: Report) -> InstanceId {
    let message_id = clock::random_id();
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    while let Err(error) = sink.send(&report, &message_id).await {
        tracing::warn!(instance = %report.instance_id, %error, "a report is not stored yet, sending it again");
        tokio::time::sleep(backoff.pause()).await;
    }
    report.instance_id
}

#[cfg(test)]
mod tests;
