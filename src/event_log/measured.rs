//! A log that measures its appends, and writes a line about each event that is stored into the area of the program's own log
//! that it belongs to (`DEBUG=dockhost:container`).

use std::sync::Arc;
use std::time::Instant;

use dockhost_domain::envelope::{Envelope, RecordedEvent};
use dockhost_domain::event::Event;
use dockhost_domain::ids::InstanceId;
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::event::TenancyEvent;
use dockhost_domain::timestamp::Timestamp;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tracing::field::Empty;
use tracing::{Instrument, Level, Span};

use super::{Append, AppendError, Delivery, EventLog, Extent, Filter, FirstPage, Freshness, LogError, Proof};
use crate::common::areas;
use crate::metrics::Metrics;

/// Counts the appends to a log, measures how long they take, and logs what was stored: types and ids, no bodies.
pub struct MeasuredLog {
    log: Arc<dyn EventLog>,
    metrics: Arc<Metrics>,
}

/// What is said about an event, once it is stored.
struct Described {
    kind: &'static str,
    instance_event: Option<&'static str>,
    /// Only if it is logged.
    line: Option<Line>,
}

/// A line about an event.
struct Line {
    area: Area,
    aggregate: AggregateId,
    instance: Option<InstanceId>,
    event: String,
    cause: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Area {
    Auth,
    Backend,
    Container,
}

impl Area {
    const fn of(aggregate: &AggregateId) -> Self {
        match aggregate {
            AggregateId::Tenancy(_) => Self::Container,
            AggregateId::Backend(_) | AggregateId::EnrolmentTokens(_) => Self::Backend,
            AggregateId::Account(_)
            | AggregateId::Administrators(_)
            | AggregateId::Session(_)
            | AggregateId::Invitations(_)
            | AggregateId::Groups(_)
            | AggregateId::Refusals(_)
            | AggregateId::Webhooks(_)
            | AggregateId::Claim(_) => Self::Auth,
        }
    }

    fn is_logged(self) -> bool {
        match self {
            Self::Auth => tracing::enabled!(target: areas::AUTH, Level::DEBUG),
            Self::Backend => tracing::enabled!(target: areas::BACKEND, Level::DEBUG),
            Self::Container => tracing::enabled!(target: areas::CONTAINER, Level::DEBUG),
        }
    }
}

impl Line {
    /// The line about an event, if its area is logged.
    fn of(envelope: &Envelope) -> Option<Self> {
        let area = Area::of(&envelope.aggregate);
        let instance = match &envelope.event {
            Event::Tenancy(event) => event.instance_id(),
            _ => None,
        };
        let encoded = if area.is_logged() { envelope.event.encode().ok()? } else { return None };
        let (aggregate, cause) = (envelope.aggregate, envelope.origin.cause.clone());
        Some(Self { area, aggregate, instance, event: encoded.kind, cause })
    }

    fn write(self) {
        let Self { area, aggregate, instance, event, cause } = self;
        let instance = instance.map(tracing::field::display);
        match area {
            Area::Auth => tracing::debug!(target: areas::AUTH, event, %aggregate, cause, "stored"),
            Area::Backend => tracing::debug!(target: areas::BACKEND, event, %aggregate, cause, "stored"),
            Area::Container => tracing::debug!(target: areas::CONTAINER, event, %aggregate, instance, cause, "stored"),
        }
    }
}

impl MeasuredLog {
    /// Over a log.
    pub const fn new(log: Arc<dyn EventLog>, metrics: Arc<Metrics>) -> Self {
        Self { log, metrics }
    }

    fn record(&self, began: Instant, result: &Result<u64, AppendError>, events: impl IntoIterator<Item = Described>) {
        let outcome = match result {
            Ok(_) => "stored",
            Err(AppendError::Conflict | AppendError::InFlight) => "conflict",
            Err(AppendError::Full) => "full",
            Err(AppendError::Unavailable(_)) => "unavailable",
            Err(AppendError::Unknown(_)) => "unknown",
        };
        self.metrics.log.record_append(outcome, began.elapsed());
        Span::current().record("outcome", outcome);
        if result.is_ok() {
            for Described { kind, instance_event, line } in events {
                self.metrics.log.record_event(kind, instance_event);
                if let Some(line) = line {
                    line.write();
                }
            }
        }
    }
}

fn described(envelope: &Envelope) -> Described {
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
    Described { kind: envelope.aggregate.kind(), instance_event, line: Line::of(envelope) }
}

/// The span of an append of so many events.
fn append_span(events: usize) -> Span {
    tracing::debug_span!("append", events, outcome = Empty)
}

impl EventLog for MeasuredLog {
    fn append(&self, entry: Append) -> BoxFuture<'_, Result<u64, AppendError>> {
        async move {
            let (began, event) = (Instant::now(), described(&entry.envelope));
            let result = self.log.append(entry).await;
            self.record(began, &result, [event]);
            result
        }
        .instrument(append_span(1))
        .boxed()
    }

    fn append_batch(&self, entries: Vec<Append>) -> BoxFuture<'_, Result<u64, AppendError>> {
        let span = append_span(entries.len());
        async move {
            let began = Instant::now();
            let events: Vec<_> = entries.iter().map(|entry| described(&entry.envelope)).collect();
            let result = self.log.append_batch(entries).await;
            self.record(began, &result, events);
            result
        }
        .instrument(span)
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

    fn stored_at<'a>(&'a self, subject: &'a str, sequence: u64) -> BoxFuture<'a, Result<Option<Timestamp>, LogError>> {
        self.log.stored_at(subject, sequence)
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
