//! The loop that roles share: read a batch, work on its groups side by side, acknowledge what was done.
//!
//! In: a durable consumer's batches. Out: calls of a role's `step` with one group at a time. What belongs to one user
//! is one group, worked on in order; groups run side by side. A group that fails is put back and comes again, out of
//! order: the steps are level-triggered or carry positions, so they bear that.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::event_log::durable::DurableReader;
use crate::event_log::jetstream::JetStreamLog;
use crate::event_log::queue::Ack;
use crate::event_log::{Cause, Delivery, Filter, LogError};
use crate::telemetry::chain;

/// Messages per batch.
pub const BATCH: usize = 256;
/// How long an idle role waits before it looks around.
pub const WAIT: Duration = Duration::from_secs(1);
/// What failed comes again after this.
pub const PAUSE: Duration = Duration::from_secs(1);
/// Groups worked on side by side.
const SIDE_BY_SIDE: usize = 16;

/// Works on groups side by side; acknowledges a group when its step went well, puts it back otherwise.
pub async fn side_by_side<K: Ord, T, F>(role: &'static str, groups: BTreeMap<K, (T, Vec<Ack>)>, step: impl Fn(T) -> F)
where
    F: Future<Output = Result<(), Cause>>,
{
    let step = &step;
    futures::stream::iter(groups.into_values())
        .for_each_concurrent(SIDE_BY_SIDE, |(work, acks)| async move {
            let outcome = step(work).await;
            if let Err(error) = &outcome {
                tracing::warn!(role, error = chain(&**error), "a step failed and is tried again");
            }
            for ack in acks {
                // A lost acknowledgement brings the message again.
                let _ = if outcome.is_ok() { ack.done().await } else { ack.again(PAUSE).await };
            }
        })
        .await;
}

/// Reads events durably until cancelled: `sort` puts each into its group, `step` works on a group.
///
/// # Errors
/// When the broker can't be reached; whoever supervises the role runs it again.
pub async fn events<K: Ord, T, F>(
    role: &'static str,
    log: &JetStreamLog,
    (name, filter): (&str, Filter),
    cancel: &CancellationToken,
    sort: impl Fn(&dockhost_domain::envelope::Recorded) -> Option<(K, T)>,
    merge: impl Fn(&mut T, T),
    step: impl Fn(T) -> F,
) -> Result<(), LogError>
where
    F: Future<Output = Result<(), Cause>>,
{
    let mut reader: DurableReader = log.durable(name, filter).await?;
    while let Some(jobs) = cancel.run_until_cancelled(reader.next_batch(BATCH, WAIT)).await {
        let mut groups: BTreeMap<K, (T, Vec<Ack>)> = BTreeMap::new();
        for job in jobs? {
            let sorted = match &job.delivery {
                Delivery::Event(recorded) => sort(recorded),
                // Its aggregate is frozen; there is nothing to do for it until it can be read.
                Delivery::Unreadable { .. } | Delivery::CaughtUp | Delivery::Idle => None,
            };
            match sorted {
                None => drop(job.ack.done().await),
                Some((key, work)) => match groups.entry(key) {
                    std::collections::btree_map::Entry::Vacant(free) => {
                        free.insert((work, vec![job.ack]));
                    }
                    std::collections::btree_map::Entry::Occupied(mut group) => {
                        merge(&mut group.get_mut().0, work);
                        group.get_mut().1.push(job.ack);
                    }
                },
            }
        }
        side_by_side(role, groups, &step).await;
    }
    Ok(())
}
