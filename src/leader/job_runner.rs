//! The loop that roles share: reads a batch, processes its groups concurrently, and acknowledges their messages.
//!
//! Messages with one key form a group and are processed in order. A failed group is redelivered, out of order: handlers
//! are level-triggered or check positions. Messages that can never succeed here (a frozen aggregate, a panic) are
//! acknowledged and skipped: redelivering them would exhaust max_ack_pending and block all others. When the aggregate is
//! released from quarantine, [`crate::leader::requeue_released`] re-queues it.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use tokio_util::sync::CancellationToken;

use crate::broker::consumer::durable::Ack;
use crate::common::error::{Cause, chain};
use crate::event_log::durable::DurableReader;
use crate::event_log::jetstream::JetStreamLog;
use crate::event_log::{Delivery, Filter, LogError};

/// The most messages in one batch.
pub const MESSAGES_PER_BATCH: usize = 256;
/// How long an idle role waits for a message before it checks for cancellation.
pub const MAX_IDLE_WAIT: Duration = Duration::from_secs(1);
/// The delay before a failed message is redelivered.
pub const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The most groups processed concurrently.
const MAX_CONCURRENT_GROUPS: usize = 16;

/// Not a failure: the handler waits for something else and is called again after [`RETRY_DELAY`].
#[derive(Debug, thiserror::Error)]
#[error("waiting for {0}")]
pub struct RetryLater(pub String);

/// Processes groups concurrently. Acknowledges the messages of a group that succeeds, and has the others redelivered.
pub async fn process_groups<K: Ord, T, F>(
    role: &'static str,
    groups: BTreeMap<K, (T, Vec<Ack>)>,
    handle: impl Fn(T) -> F,
) where
    F: Future<Output = Result<(), Cause>>,
{
    let handle = &handle;
    futures::stream::iter(groups.into_values())
        .for_each_concurrent(MAX_CONCURRENT_GROUPS, |(work, acks)| async move {
            let outcome = catch_panic(handle(work)).await.unwrap_or_else(|panicked| Err(panicked.into()));
            settle(role, &outcome, acks).await;
        })
        .await;
}

/// Logs a failure. Acknowledges the messages of work that succeeded or never will, and has the others redelivered.
pub async fn settle(role: &'static str, outcome: &Result<(), Cause>, acks: impl IntoIterator<Item = Ack>) {
    let skipped = outcome.as_ref().is_err_and(|error| is_permanent(&**error));
    if let Err(error) = outcome {
        match error.downcast_ref::<RetryLater>() {
            Some(reason) => tracing::debug!(role, %reason, "work is retried later"),
            None if skipped => tracing::warn!(role, error = chain(&**error), "work skipped (permanent error)"),
            None => tracing::warn!(role, error = chain(&**error), "work failed; retrying"),
        }
    }
    for ack in acks {
        // If the acknowledgement is lost, the broker redelivers the message.
        let _ = if outcome.is_ok() || skipped { ack.confirm().await } else { ack.retry_after(RETRY_DELAY).await };
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
#[derive(Debug, Clone, Copy)]
pub struct EventSource<'a> {
    /// The role's name in log lines.
    pub role: &'static str,
    /// The name of its durable consumer.
    pub consumer: &'a str,
    /// Which events.
    pub filter: Filter,
    /// How long to collect further events of a group before processing it, once caught up. Zero processes at once.
    pub debounce: Duration,
}

/// Processes events until cancelled: `to_work` gives an event's group and work, `merge` adds work to its group, and
/// `handle` processes a group. Events without work are acknowledged.
///
/// # Errors
/// When the broker can't be reached.
pub async fn process_events<K: Ord, T, F>(
    EventSource { role, consumer, filter, debounce }: EventSource<'_>,
    log: &JetStreamLog,
    cancel: &CancellationToken,
    to_work: impl Fn(&dockhost_domain::envelope::RecordedEvent) -> Option<(K, T)>,
    merge: impl Fn(&mut T, T),
    handle: impl Fn(T) -> F,
) -> Result<(), LogError>
where
    F: Future<Output = Result<(), Cause>>,
{
    let mut reader: DurableReader = log.durable(consumer, filter).await?;
    while let Some(deliveries) = cancel.run_until_cancelled(reader.next_batch(MESSAGES_PER_BATCH, MAX_IDLE_WAIT)).await
    {
        let mut deliveries = deliveries?;
        if !debounce.is_zero() && deliveries.last().is_some_and(|last| last.ack.is_last()) {
            cancel.run_until_cancelled(tokio::time::sleep(debounce)).await;
            deliveries.extend(reader.next_batch(MESSAGES_PER_BATCH, Duration::ZERO).await?);
        }
        let mut groups: BTreeMap<K, (T, Vec<Ack>)> = BTreeMap::new();
        for delivery in deliveries {
            let work = match &delivery.delivery {
                Delivery::Event(recorded) => to_work(recorded),
                // The aggregate is frozen; it is re-queued when it is released.
                Delivery::Unreadable { .. } | Delivery::Barrier(_) | Delivery::CaughtUp | Delivery::Idle => None,
            };
            match work {
                None => drop(delivery.ack.confirm().await),
                Some((key, work)) => match groups.get_mut(&key) {
                    Some((group, acks)) => {
                        merge(group, work);
                        acks.push(delivery.ack);
                    }
                    None => drop(groups.insert(key, (work, vec![delivery.ack]))),
                },
            }
        }
        process_groups(role, groups, &handle).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execute::ExecuteError;
    use crate::leader::dispatcher::DispatchError;

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

    #[tokio::test]
    async fn process_groups_handler_panics_others_complete() {
        let done = std::sync::Mutex::new(Vec::new());
        let groups = (0..40).map(|n| (n, (n, Vec::new()))).collect();
        process_groups("test", groups, |n| {
            let done = &done;
            async move {
                assert!(n % 3 > 0, "expected by this test");
                done.lock().unwrap().push(n);
                Ok(())
            }
        })
        .await;
        let expected: Vec<i32> = (0..40).filter(|n| n % 3 > 0).collect();
        let mut done = done.into_inner().unwrap();
        done.sort_unstable();
        assert_eq!(done, expected);
    }
}
