//! The outbox: sends each report on `dockhost.report.<backend>` until the broker has stored it.
//!
//! A report is a full observation, so a newer one replaces an older one of the same instance that is still queued. At
//! most one report per instance is in flight, so the stream has an instance's reports in order. A retry repeats the
//! message id, by which the broker deduplicates.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::Retryable;
use dockhost_domain::ids::InstanceId;
use dockhost_domain::trace::TraceParent;
use dockhost_domain::wire::Report;
use dockhost_telemetry::trace;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;

use crate::backoff::backoff;
use crate::clock;

/// Maximum number of concurrent publish requests.
const MAX_IN_FLIGHT_REPORTS: usize = 32;
/// First and longest delay between attempts to send a report.
const PUBLISH_BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// Time for the remaining reports after shutdown began.
const SHUTDOWN_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a report was not stored; the outbox sends it again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PublishError(pub String);

/// Destination of reports.
pub trait ReportSink: Send + Sync {
    /// Sends the report once; `Ok` means that it is stored.
    fn send(&self, report: &Report, message_id: &str) -> impl Future<Output = Result<(), PublishError>> + Send;
}

/// The queue of reports; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Outbox(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queued: Mutex<Queue>,
    added: Notify,
}

#[derive(Debug)]
struct Queued {
    report: Report,
    /// The trace in which it was queued.
    trace: Option<TraceParent>,
}

#[derive(Debug, Default)]
struct Queue {
    reports: HashMap<InstanceId, Queued>,
    /// Whether reports are dropped, because another agent holds the backend.
    suspended: bool,
}

impl Outbox {
    /// Queues this report in place of a queued one of the same instance. It is sent in the trace of the task.
    pub fn put(&self, report: Report) {
        let mut queued = self.queued();
        if !queued.suspended {
            queued.reports.insert(report.instance_id, Queued { report, trace: trace::current() });
            self.0.added.notify_one();
        }
    }

    /// Drops the queued reports, those whose publishing is retried, and all further ones until [`Outbox::resume`].
    pub fn suspend(&self) {
        *self.queued() = Queue { reports: HashMap::new(), suspended: true };
    }

    /// Accepts reports again.
    pub fn resume(&self) {
        self.queued().suspended = false;
    }

    fn is_suspended(&self) -> bool {
        self.queued().suspended
    }

    /// The number of queued reports, without those in flight.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queued().reports.len()
    }

    /// Whether no report is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends reports until shutdown, then what is left for at most [`SHUTDOWN_FLUSH_TIMEOUT`].
    pub async fn run(&self, sink: &impl ReportSink, stop: &CancellationToken) {
        let mut in_flight = FuturesUnordered::new();
        let mut instances: Vec<InstanceId> = Vec::new();
        let mut flush_deadline = pin!(async {
            stop.cancelled().await;
            tokio::time::sleep(SHUTDOWN_FLUSH_TIMEOUT).await;
        });
        loop {
            while in_flight.len() < MAX_IN_FLIGHT_REPORTS
                && let Some(Queued { report, trace }) = self.next(&instances)
            {
                instances.push(report.instance_id);
                let span = tracing::info_span!("send", instance = %report.instance_id, trace = Empty);
                in_flight.push(trace::in_span(span, trace, self.send_until_stored(sink, report)));
            }
            if stop.is_cancelled() && in_flight.is_empty() {
                return;
            }
            tokio::select! {
                Some(done) = in_flight.next() => instances.retain(|instance| *instance != done),
                () = self.0.added.notified() => {}
                () = stop.cancelled(), if in_flight.is_empty() => {}
                () = &mut flush_deadline => {
                    tracing::warn!(unsent = in_flight.len() + self.len(), "stopping with unsent reports");
                    return;
                }
            }
        }
    }

    /// Removes and returns a queued report whose instance has none in flight.
    fn next(&self, in_flight: &[InstanceId]) -> Option<Queued> {
        let mut queued = self.queued();
        let instance = queued.reports.keys().find(|instance| !in_flight.contains(instance)).copied()?;
        queued.reports.remove(&instance)
    }

    fn queued(&self) -> MutexGuard<'_, Queue> {
        self.0.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one report until it is stored, or until the outbox is suspended.
    async fn send_until_stored(&self, sink: &impl ReportSink, report: Report) -> InstanceId {
        let message_id = clock::random_id();
        let send = || sink.send(&report, &message_id);
        // The backoff is unlimited.
        let _stored = send
            .retry(backoff(PUBLISH_BACKOFF))
            .when(|_| !self.is_suspended())
            .notify(|error, delay| {
                tracing::warn!(instance = %report.instance_id, %error, retry_in = ?delay, "report not stored; retrying");
            })
            .await;
        report.instance_id
    }
}

#[cfg(test)]
mod tests;
