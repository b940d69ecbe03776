//! The loop that roles share: read a batch, work on its groups side by side, acknowledge what was done.
//!
//! In: a durable consumer's batches. Out: calls of a role's `step` with one group at a time. What belongs to one user
//! is one group, worked on in order; groups run side by side. A group that fails is put back and comes again, out of
//! order: the steps are level-triggered or carry positions, so they bear that. Only what this program can't do, because it
//! can't read an event of the aggregate or panics on it, is let go: kept, it would use up what the broker lets one consumer have
//! open, and nobody else's would come. When the aggregate is released, [`crate::leader::requeue_released`] looks at it anew.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use tokio_util::sync::CancellationToken;

use crate::broker::consumer::durable::Ack;
use crate::common::error::Cause;
use crate::common::error::chain;
use crate::event_log::durable::DurableReader;
use crate::event_log::jetstream::JetStreamLog;
use crate::event_log::{Delivery, Filter, LogError};

/// Messages per batch.
pub const MESSAGES_PER_BATCH: usize = 256;
/// How long an idle role waits before it looks around.
pub const MAX_IDLE_WAIT: Duration = Duration::from_secs(1);
/// What failed comes again after this.
pub const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Groups worked on side by side.
const MAX_CONCURRENT_GROUPS: usize = 16;

/// What a step waits for has not happened yet: no fault, the step is run again a moment later.
#[derive(Debug, thiserror::Error)]
#[error("waits for {0}")]
pub struct RetryLater(pub String);

/// Works on groups side by side; acknowledges a group when its step went well, puts it back otherwise.
pub async fn process_groups<K: Ord, T, F>(role: &'static str, groups: BTreeMap<K, (T, Vec<Ack>)>, step: impl Fn(T) -> F)
where
    F: Future<Output = Result<(), Cause>>,
{
    let step = &step;
    futures::stream::iter(groups.into_values())
        .for_each_concurrent(MAX_CONCURRENT_GROUPS, |(work, acks)| async move {
            let outcome = catch_panic(step(work)).await.unwrap_or_else(|panicked| Err(panicked.into()));
            let skipped = outcome.as_ref().is_err_and(|error| is_permanent(&**error));
            if let Err(error) = &outcome {
                if let Some(waits) = error.downcast_ref::<RetryLater>() {
                    tracing::debug!(role, %waits, "a step is run again");
                } else {
                    let then = if skipped { "skipped (permanent error)" } else { "it will be retried" };
                    tracing::warn!(role, error = chain(&**error), then, "a step failed");
                }
            }
            for ack in acks {
                // A lost acknowledgement brings the message again.
                let _ =
                    if outcome.is_ok() || skipped { ack.confirm().await } else { ack.retry_after(RETRY_DELAY).await };
            }
        })
        .await;
}

/// It panicked.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("it panicked")]
pub struct Panicked;

/// Runs something that may panic, which then is an error like any other. Nothing is shared with it that it could leave
/// half changed: what roles hold beyond themselves are locks of whole values, and what they write is fenced.
///
/// # Errors
/// [`Panicked`]; the panic's text has been printed, it may quote what nobody should read elsewhere.
pub async fn catch_panic<F: Future>(run: F) -> Result<F::Output, Panicked> {
    AssertUnwindSafe(run).catch_unwind().await.map_err(|_| Panicked)
}

/// Whether trying again would end the same: an aggregate is frozen here, or this program has a fault.
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

/// Which events a role reads, and how.
#[derive(Debug, Clone, Copy)]
pub struct EventSource<'a> {
    /// The role, for the log.
    pub role: &'static str,
    /// Under which name the broker keeps its place.
    pub consumer: &'a str,
    /// What it reads.
    pub filter: Filter,
    /// How long events are gathered before they are worked on, once the past is: what passes in that time costs nothing.
    /// Zero where somebody waits for the work.
    pub debounce: Duration,
}

/// Reads events durably until cancelled: `sort` puts each into its group, `step` works on a group.
///
/// # Errors
/// When the broker can't be reached; whoever supervises the role runs it again.
pub async fn process_events<K: Ord, T, F>(
    EventSource { role, consumer, filter, debounce }: EventSource<'_>,
    log: &JetStreamLog,
    cancel: &CancellationToken,
    sort: impl Fn(&dockhost_domain::envelope::Recorded) -> Option<(K, T)>,
    merge: impl Fn(&mut T, T),
    step: impl Fn(T) -> F,
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
            let sorted = match &delivery.delivery {
                Delivery::Event(recorded) => sort(recorded),
                // Its aggregate is frozen; there is nothing to do for it until it can be read.
                Delivery::Unreadable { .. } | Delivery::CaughtUp | Delivery::Idle => None,
            };
            match sorted {
                None => drop(delivery.ack.confirm().await),
                Some((key, work)) => match groups.entry(key) {
                    std::collections::btree_map::Entry::Vacant(free) => {
                        free.insert((work, vec![delivery.ack]));
                    }
                    std::collections::btree_map::Entry::Occupied(mut group) => {
                        merge(&mut group.get_mut().0, work);
                        group.get_mut().1.push(delivery.ack);
                    }
                },
            }
        }
        process_groups(role, groups, &step).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execute::ExecuteError;
    use crate::leader::dispatcher::DispatchError;

    #[test]
    fn a_frozen_aggregate_is_recognised_however_it_is_wrapped() {
        let frozen = || LogError::Frozen { sequence: 7, why: "unknown type".into() };
        let rejected: ExecuteError<std::fmt::Error> = ExecuteError::from(frozen());
        for error in [Cause::from(frozen()), Cause::from(rejected), Cause::from(DispatchError::from(frozen()))] {
            assert!(is_permanent(&*error), "{error:?}");
        }
        assert!(!is_permanent(&*Cause::from(LogError::Unavailable("away".into()))));
        assert!(!is_permanent(&*Cause::from(DispatchError::Contended)));
    }

    #[tokio::test]
    async fn a_step_that_panics_keeps_no_other_from_its_end() {
        let done = std::sync::Mutex::new(Vec::new());
        let groups = (0..40).map(|n| (n, (n, Vec::new()))).collect();
        process_groups("test", groups, |n| {
            let done = &done;
            async move {
                assert!(n % 3 > 0, "ordered by a test");
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
