//! Runs the jobs that messages cause, in turn ([`super::turns`]): a slow job delays only its own lane.
//!
//! Jobs of one lane run one after another, in the order of their messages. While one runs, those that arrive for its lane
//! are merged into one. A message is acknowledged when its job is done, so the position that the broker keeps, below which
//! everything is acknowledged, passes no job that is not done.

use std::collections::BTreeMap;
use std::future::Future;
use std::hash::Hash;
use std::pin::pin;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use super::job_runner::{catch_panic, settle};
use super::turns::{Pushed, Turns};
use crate::broker::consumer::durable::Ack;
use crate::common::error::Cause;

/// The acknowledgement of a message.
pub trait Acknowledge {
    /// The work is done.
    fn confirm(self) -> impl Future<Output = Result<(), Cause>>;
    /// The message is to be delivered again after `delay`.
    fn retry_after(self, delay: Duration) -> impl Future<Output = Result<(), Cause>>;
}

impl Acknowledge for Ack {
    fn confirm(self) -> impl Future<Output = Result<(), Cause>> {
        Self::confirm(self)
    }

    fn retry_after(self, delay: Duration) -> impl Future<Output = Result<(), Cause>> {
        Self::retry_after(self, delay)
    }
}

/// A message with the job that it causes, if any: its lane and the work.
pub struct Received<O, K, T, A> {
    /// The job.
    pub job: Option<((O, K), T)>,
    /// To be confirmed when the job is done.
    pub ack: A,
}

/// Merged work, with the messages that caused it.
struct Job<T, A> {
    work: T,
    acks: Vec<A>,
}

/// Runs the jobs of all batches until cancelled, or until a batch can't be read; jobs that run then are completed, and
/// those that wait are left to be delivered again. `merge` adds later work to earlier work of the same lane.
///
/// # Errors
/// The error of the batch.
pub async fn run<O, K, T, A, E, F>(
    role: &'static str,
    batches: impl Stream<Item = Result<Vec<Received<O, K, T, A>>, E>>,
    cancel: &CancellationToken,
    merge: impl Fn(&mut T, T),
    handle: impl Fn(T) -> F,
) -> Result<(), E>
where
    O: Copy + Ord + Hash,
    K: Copy + Ord + Hash,
    A: Acknowledge,
    F: Future<Output = Result<(), Cause>>,
{
    let merge = |job: &mut Job<T, A>, newer: Job<T, A>| {
        merge(&mut job.work, newer.work);
        job.acks.extend(newer.acks);
    };
    let (turns, stop) = (Turns::default(), cancel.child_token());
    let (mut batches, mut lanes) = (pin!(batches), FuturesUnordered::new());
    let outcome = loop {
        let batch = tokio::select! {
            () = stop.cancelled() => break Ok(()),
            Some(()) = lanes.next() => continue,
            batch = batches.next() => batch,
        };
        let messages = match batch {
            Some(Ok(messages)) => messages,
            Some(Err(error)) => break Err(error),
            None => break Ok(()),
        };
        for (lane, job) in by_lane(messages, &merge).await {
            match turns.push_or_merge(lane, job, merge) {
                Pushed::Start(first) => lanes.push(run_lane(role, lane, first, &turns, &stop, &handle)),
                Pushed::Queued => {}
                Pushed::Full(Job { acks, .. }) => settle(role, &Err("too many jobs wait".into()), acks).await,
            }
        }
    };
    stop.cancel();
    turns.close();
    while lanes.next().await.is_some() {}
    outcome
}

/// Merges the jobs of one batch; confirms the messages that cause none.
async fn by_lane<O: Ord, K: Ord, T, A: Acknowledge>(
    messages: Vec<Received<O, K, T, A>>,
    merge: impl Fn(&mut Job<T, A>, Job<T, A>),
) -> BTreeMap<(O, K), Job<T, A>> {
    let mut jobs: BTreeMap<(O, K), Job<T, A>> = BTreeMap::new();
    for Received { job, ack } in messages {
        let Some((lane, work)) = job else {
            // If the acknowledgement is lost, the broker delivers the message again.
            drop(ack.confirm().await);
            continue;
        };
        let job = Job { work, acks: vec![ack] };
        match jobs.get_mut(&lane) {
            Some(earlier) => merge(earlier, job),
            None => drop(jobs.insert(lane, job)),
        }
    }
    jobs
}

/// Runs the jobs of a lane until none waits in it.
async fn run_lane<O, K, T, A, F>(
    role: &'static str,
    lane: (O, K),
    first: Job<T, A>,
    turns: &Turns<O, K, Job<T, A>>,
    stop: &CancellationToken,
    handle: impl Fn(T) -> F,
) where
    O: Copy + Eq + Hash,
    K: Copy + Eq + Hash,
    A: Acknowledge,
    F: Future<Output = Result<(), Cause>>,
{
    let mut next = Some(first);
    while let Some(Job { work, acks }) = next {
        let turn = turns.turn(lane.0).await;
        if stop.is_cancelled() {
            return;
        }
        let outcome = catch_panic(handle(work)).await.unwrap_or_else(|panicked| Err(panicked.into()));
        drop(turn);
        settle(role, &outcome, acks).await;
        next = turns.next(lane);
    }
}

#[cfg(test)]
mod tests;
