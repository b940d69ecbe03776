//! The loop that roles share: reads events and runs the jobs that they cause ([`super::jobs`]).
//!
//! The events of a failed job are redelivered, out of order: handlers are level-triggered or check positions. Messages
//! that can never succeed here (a frozen aggregate, a panic) are acknowledged and skipped: redelivering them would exhaust
//! max_ack_pending and block all others. When the aggregate is released from quarantine,
//! [`crate::leader::requeue_released`] re-queues it.

use std::future::Future;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use dockhost_domain::envelope::RecordedEvent;
use dockhost_domain::trace::TraceParent;
use dockhost_telemetry::trace;
use futures::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;

use crate::common::error::{Cause, chain};
use crate::event_log::durable::{DurableDelivery, DurableReader};
use crate::event_log::jetstream::JetStreamLog;
use crate::event_log::{Delivery, Filter, LogError};
use crate::leader::jobs::{self, Acknowledge, Received};
use crate::replica::follower::Follower;

/// The most messages in one batch.
pub const MESSAGES_PER_BATCH: usize = 256;
/// How long an idle role waits for a message before it checks for cancellation.
pub const MAX_IDLE_WAIT: Duration = Duration::from_secs(1);
/// How long a consumer may deliver nothing that is known to be in the log.
const MAX_STANDSTILL: Duration = Duration::from_secs(4);
/// The delay before a failed message is redelivered.
pub const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Not a failure: the handler waits for something else and is called again.
#[derive(Debug, thiserror::Error)]
#[error("waiting for {reason}")]
pub struct RetryLater {
    /// What it waits for.
    pub reason: String,
    /// The delay.
    pub after: Duration,
}

/// Logs a failure. Acknowledges the messages of work that succeeded or never will, and has the others redelivered.
pub async fn settle(role: &'static str, outcome: &Result<(), Cause>, acks: impl IntoIterator<Item = impl Acknowledge>) {
    let skipped = outcome.as_ref().is_err_and(|error| is_permanent(&**error));
    let mut delay = RETRY_DELAY;
    if let Err(error) = outcome {
        match error.downcast_ref::<RetryLater>() {
            Some(waiting) => {
                delay = waiting.after;
                tracing::debug!(role, %waiting, "work is retried later");
            }
            None if skipped => tracing::warn!(role, error = chain(&**error), "work skipped (permanent error)"),
            None => tracing::warn!(role, error = chain(&**error), "work failed; retrying"),
        }
    }
    for ack in acks {
        // If the acknowledgement is lost, the broker redelivers the message.
        let _ = if outcome.is_ok() || skipped { ack.confirm().await } else { ack.retry_after(delay).await };
    }
}

/// The future panicked.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("panicked")]
pub struct Panicked;

/// Turns a panic into an error. Safe for roles: shared values are replaced under a lock, never left half changed, and
/// writes are fenced.
///
/// # Errors
/// [`Panicked`], without the panic's text, which may contain personal data.
pub async fn catch_panic<F: Future>(run: F) -> Result<F::Output, Panicked> {
    AssertUnwindSafe(run).catch_unwind().await.map_err(|_| Panicked)
}

/// Whether a retry would fail again: the aggregate is frozen on this replica, or the code panicked.
fn is_permanent(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut at = Some(error);
    while let Some(error) = at {
        if error.is::<Panicked>() || matches!(error.downcast_ref(), Some(LogError::Frozen { .. })) {
            return true;
        }
        at = error.source();
    }
    false
}

/// The events that a role reads.
#[derive(Clone, Copy)]
pub struct EventSource<'a> {
    /// The role's name in log lines.
    pub role: &'static str,
    /// The name of its durable consumer.
    pub consumer: &'a str,
    /// The kind of aggregate (`tenancy`) whose events it reads.
    pub kind: &'static str,
    /// How long to collect further events before processing them, once caught up. Zero processes at once.
    pub debounce: Duration,
    /// Knows how far the log goes, so that a consumer that delivers nothing more is noticed.
    pub follower: &'a Follower,
}

/// Processes events until cancelled: `to_work` gives an event's lane and work, `merge` adds work to its lane's, and
/// `handle` does it, in the trace of the event. Events without work are acknowledged.
///
/// # Errors
/// When the broker can't be reached.
pub async fn process_events<O, K, T, F>(
    EventSource { role, consumer, kind, debounce, follower }: EventSource<'_>,
    log: &JetStreamLog,
    cancel: &CancellationToken,
    to_work: impl Fn(&RecordedEvent) -> Option<((O, K), T)>,
    merge: impl Fn(&mut T, T),
    handle: impl Fn(T) -> F,
) -> Result<(), LogError>
where
    O: Copy + Ord + Hash,
    K: Copy + Ord + Hash,
    F: Future<Output = Result<(), Cause>>,
{
    let received = |delivery: DurableDelivery| {
        let job = match &delivery.delivery {
            Delivery::Event(recorded) => {
                let trace = recorded.envelope.origin.trace_parent;
                to_work(recorded).map(|(lane, work)| (lane, Traced { work, trace }))
            }
            // The aggregate is frozen; it is re-queued when it is released.
            Delivery::Unreadable { .. } | Delivery::Barrier(_) | Delivery::CaughtUp | Delivery::Idle => None,
        };
        Received { job, ack: delivery.ack }
    };
    let reader = log.durable(consumer, Filter::Kind(kind)).await?;
    // A stream, because a read must not be given up half-way when a job ends meanwhile.
    let batches = futures::stream::unfold((reader, Standstill::default()), |(mut reader, mut standstill)| async move {
        let mut batch = next_batch(&mut reader, debounce).await;
        if standstill.observe(reader.delivered(), follower.last_sequence_of(kind), Instant::now()) {
            batch = Err(LogError::Unavailable("the consumer delivers nothing although the log goes on".into()));
        }
        Some((batch.map(|deliveries| deliveries.into_iter().map(received).collect()), (reader, standstill)))
    });
    let merge = |earlier: &mut Traced<T>, newer: Traced<T>| earlier.merge(newer, &merge);
    let handle = |Traced { work, trace }: Traced<T>| {
        let span = tracing::info_span!("job", role, trace = Empty);
        trace::in_span(span, trace, handle(work))
    };
    jobs::run(role, batches, cancel, merge, handle).await
}

/// Work, and the trace of the event that causes it.
struct Traced<T> {
    work: T,
    trace: Option<TraceParent>,
}

impl<T> Traced<T> {
    /// Adds later work. Of several traces, that of the latest event counts that has one.
    fn merge(&mut self, newer: Self, merge: impl Fn(&mut T, T)) {
        merge(&mut self.work, newer.work);
        self.trace = newer.trace.or(self.trace);
    }
}

/// Notices a consumer that delivers nothing more although it sends heartbeats and the log goes on. The role then takes the
/// consumer over again.
#[derive(Debug, Default)]
struct Standstill {
    delivered: u64,
    behind_since: Option<Instant>,
}

impl Standstill {
    /// Takes in the highest sequence that was delivered and the last one of the log that the consumer should deliver;
    /// whether nothing new was delivered for too long.
    fn observe(&mut self, delivered: u64, last: u64, now: Instant) -> bool {
        if delivered >= last || delivered > self.delivered {
            *self = Self { delivered, behind_since: None };
            return false;
        }
        let since = *self.behind_since.get_or_insert(now);
        now.saturating_duration_since(since) >= MAX_STANDSTILL
    }
}

/// The next events, with those that follow within `debounce` if they are the last ones.
async fn next_batch(reader: &mut DurableReader, debounce: Duration) -> Result<Vec<DurableDelivery>, LogError> {
    let mut deliveries = reader.next_batch(MESSAGES_PER_BATCH, MAX_IDLE_WAIT).await?;
    if !debounce.is_zero() && deliveries.last().is_some_and(|last| last.ack.is_last()) {
        tokio::time::sleep(debounce).await;
        deliveries.extend(reader.next_batch(MESSAGES_PER_BATCH, Duration::ZERO).await?);
    }
    Ok(deliveries)
}

#[cfg(test)]
mod tests {
    use dockhost_domain::trace::{SpanId, TraceId};

    use super::*;
    use crate::execute::ExecuteError;
    use crate::leader::dispatcher::DispatchError;

    #[test]
    fn standstill_consumer_that_delivers_nothing_of_a_log_that_goes_on_is_noticed() {
        let (mut standstill, start) = (Standstill::default(), Instant::now());
        let mut observe =
            |second, delivered, last| standstill.observe(delivered, last, start + Duration::from_secs(second));
        assert!(!observe(0, 7, 7) && !observe(100, 7, 7), "nothing to deliver");
        assert!(!observe(101, 7, 8), "the event has just been stored");
        assert!(!observe(104, 7, 9));
        assert!(!observe(105, 8, 9), "it delivers, although it is late");
        assert!(!observe(106, 8, 10) && !observe(109, 8, 10));
        assert!(observe(110, 8, 11));
        // What is delivered again is nothing new.
        assert!(observe(111, 8, 12));
        assert!(!observe(112, 12, 12) && !observe(200, 12, 12));
    }

    #[test]
    fn traced_work_that_is_merged_has_the_trace_of_the_latest_event_that_has_one() {
        let trace = |id| {
            let (trace_id, span_id) = (TraceId::new(id).unwrap(), SpanId::new(1).unwrap());
            Some(TraceParent { trace_id, span_id, is_sampled: true })
        };
        for (earlier, later, expected) in
            [(trace(1), trace(2), trace(2)), (trace(1), None, trace(1)), (None, trace(2), trace(2)), (None, None, None)]
        {
            let mut merged = Traced { work: 1, trace: earlier };
            merged.merge(Traced { work: 2, trace: later }, |earlier, newer| *earlier += newer);
            assert_eq!((merged.work, merged.trace), (3, expected));
        }
    }

    #[test]
    fn is_permanent_wrapped_frozen_error_is_found() {
        let frozen = || LogError::Frozen { sequence: 7, why: "unknown type".into() };
        let rejected: ExecuteError<std::fmt::Error> = ExecuteError::from(frozen());
        for error in [Cause::from(frozen()), Cause::from(rejected), Cause::from(DispatchError::from(frozen()))] {
            assert!(is_permanent(&*error), "{error:?}");
        }
        assert!(!is_permanent(&*Cause::from(LogError::Unavailable("away".into()))));
        assert!(!is_permanent(&*Cause::from(DispatchError::Contended)));
    }
}
