//! A log that measures its appends.

use std::sync::Arc;
use std::time::Instant;

use dockhost_domain::envelope::{Envelope, RecordedEvent};
use dockhost_domain::event::Event;
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::event::TenancyEvent;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::{Append, AppendError, Delivery, EventLog, Extent, Filter, FirstPage, Freshness, LogError, Proof};
use crate::metrics::Metrics;

/// Counts the appends to a log, and measures how long they take.
pub struct MeasuredLog {
    log: Arc<dyn EventLog>,
    metrics: Arc<Metrics>,
}

/// What an append says about an event, once it is stored.
type Counted = (&'static str, Option<&'static str>);

impl MeasuredLog {
    /// Over a log.
    pub const fn new(log: Arc<dyn EventLog>, metrics: Arc<Metrics>) -> Self {
        Self { log, metrics }
    }

    fn record(&self, began: Instant, result: &Result<u64, AppendError>, events: impl IntoIterator<Item = Counted>) {
        let outcome = match result {
            Ok(_) => "stored",
            Err(AppendError::Conflict | AppendError::InFlight) => "conflict",
            Err(AppendError::Full) => "full",
            Err(AppendError::Unavailable(_)) => "unavailable",
            Err(AppendError::Unknown(_)) => "unknown",
        };
        self.metrics.log.record_append(outcome, began.elapsed());
        if result.is_ok() {
            events.into_iter().for_each(|(kind, event)| self.metrics.log.record_event(kind, event));
        }
    }
}

fn counted(envelope: &Envelope) -> Counted {
    let instance_event = match &envelope.event {
        Event::Tenancy(TenancyEvent::Requested(_)) => Some("requested"),
        Event::Tenancy(TenancyEvent::Placed(_)) => Some("placed"),
        Event::Tenancy(TenancyEvent::StopRequested(_)) => Some("stop_requested"),
        Event::Tenancy(TenancyEvent::ResumeRequested(_)) => Some("resume_requested"),
        Event::Tenancy(TenancyEvent::DeleteRequested(_)) => Some("delete_requested"),
        Event::Tenancy(TenancyEvent::Failed(_)) => Some("failed"),
        Event::Tenancy(TenancyEvent::Deleted(_)) => Some("deleted"),
        Event::Tenancy(TenancyEvent::Moved(_)) => Some("moved"),
        _ => None,
    };
    (envelope.aggregate.kind(), instance_event)
}

impl EventLog for MeasuredLog {
    fn append(&self, entry: Append) -> BoxFuture<'_, Result<u64, AppendError>> {
        async move {
            let (began, event) = (Instant::now(), counted(&entry.envelope));
            let result = self.log.append(entry).await;
            self.record(began, &result, [event]);
            result
        }
        .boxed()
    }

    fn append_batch(&self, entries: Vec<Append>) -> BoxFuture<'_, Result<u64, AppendError>> {
        async move {
            let began = Instant::now();
            let events: Vec<_> = entries.iter().map(|entry| counted(&entry.envelope)).collect();
            let result = self.log.append_batch(entries).await;
            self.record(began, &result, events);
            result
        }
        .boxed()
    }

    fn load(&self, aggregate: AggregateId, after: u64) -> BoxFuture<'_, Result<Vec<RecordedEvent>, LogError>> {
        self.log.load(aggregate, after)
    }

    fn load_first(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<FirstPage, LogError>> {
        self.log.load_first(aggregate)
    }

    fn last_sequence(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<u64, LogError>> {
        self.log.last_sequence(aggregate)
    }

    fn barrier(&self, freshness: Freshness) -> BoxFuture<'_, Result<Proof, LogError>> {
        self.log.barrier(freshness)
    }

    fn extent(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<Option<Extent>, LogError>> {
        self.log.extent(aggregate)
    }

    fn end(&self, filter: Filter) -> BoxFuture<'_, Result<u64, LogError>> {
        self.log.end(filter)
    }

    fn follow(&self, after: u64, filter: Filter) -> BoxStream<'static, Delivery> {
        self.log.follow(after, filter)
    }

    fn incarnation(&self) -> &Incarnation {
        self.log.incarnation()
    }
}
