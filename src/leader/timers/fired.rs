//! Handles the timers that the broker has fired: executes the command that ends the state whose deadline has passed.
//!
//! The timers of one instance are handled one after another, those of others beside them. Only the last generation of an
//! instance can have a deadline that matters, so the timers that wait for one instance are merged.

use std::time::Duration;

use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::subject::FIRED_TIMERS;
use dockhost_domain::tenancy::{DeadlineRejected, HandleDeadline, Instance, Tenancy};
use dockhost_telemetry::trace;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;

use super::{Deadline, Timers};
use crate::broker::consumer::durable::{Ack, DurableConsumer};
use crate::broker::streams::TIMERS;
use crate::common::clock;
use crate::common::error::Cause;
use crate::execute::ExecuteError;
use crate::leader::failed_operation;
use crate::leader::job_runner::{MAX_IDLE_WAIT, MESSAGES_PER_BATCH, RetryLater};
use crate::leader::jobs::{self, Received};

/// Timers that may be unacknowledged at once.
const MAX_ACK_PENDING: i64 = 4096;
/// The least delay before a timer that came too early is delivered again.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(50);

/// Fired timers of one instance.
#[derive(Debug)]
struct Fired {
    /// The one with the highest generation.
    deadline: Deadline,
    /// The sequences of all of them in TIMERS.
    sequences: Vec<u64>,
}

impl Fired {
    fn merge(&mut self, newer: Self) {
        if newer.deadline.generation > self.deadline.generation {
            self.deadline = newer.deadline;
        }
        self.sequences.extend(newer.sequences);
    }
}

impl Timers {
    /// Handles fired timers until cancelled.
    ///
    /// # Errors
    /// When the broker can't be reached.
    pub(super) async fn process_fired(&self, cancel: &CancellationToken) -> Result<(), Cause> {
        let consumer = DurableConsumer::new(self.jetstream.clone(), TIMERS, "deadlines", FIRED_TIMERS.to_owned())
            .with_max_ack_pending(MAX_ACK_PENDING);
        let batches = futures::stream::unfold(consumer, |mut consumer| async move {
            let messages = consumer.next_batch(MESSAGES_PER_BATCH, MAX_IDLE_WAIT).await;
            Some((messages.and_then(|messages| messages.into_iter().map(received).collect()), consumer))
        });
        jobs::run("deadlines", batches, cancel, Fired::merge, |fired| self.handle(fired)).await
    }

    /// Handles timers, in a trace of their own.
    async fn handle(&self, Fired { deadline, sequences }: Fired) -> Result<(), Cause> {
        let span = tracing::info_span!("timer", instance = %deadline.instance_id, trace = Empty);
        trace::in_span(span, None, self.end_state(deadline, &sequences)).await?;
        // Handled ones that stay only take up space.
        let deletions = sequences.iter().map(|sequence| self.stream.delete_message(*sequence));
        for error in join_all(deletions).await.into_iter().filter_map(Result::err) {
            tracing::debug!(instance_id = %deadline.instance_id, %error, "could not delete a handled timer");
        }
        Ok(())
    }

    async fn end_state(&self, deadline: Deadline, sequences: &[u64]) -> Result<(), Cause> {
        let Deadline { user_id, instance_id, generation } = deadline;
        // Generations only grow, so this needs no proof that the state is the newest one.
        let known = self.executor.state::<Tenancy>(user_id).await?;
        if known.state.instance(instance_id).is_some_and(|instance| instance.generation > generation) {
            return Ok(());
        }
        self.follower.fleet().wait_for_heartbeats().await;
        let facts = self.follower.facts(self.policy, instance_id);
        let command = HandleDeadline { instance_id, generation, facts };
        let sequence = sequences.iter().max().copied().unwrap_or(0);
        let origin = Origin::new(Actor::System, format!("timer:{sequence}"));
        let before = known.state.instance(instance_id);
        match self.executor.execute(user_id, origin, command).await {
            Ok(done) => {
                if let Some(due) = before.and_then(Instance::deadline) {
                    self.metrics.leader.record_timer(clock::now().since(due));
                }
                failed_operation::log(instance_id, before, done.current.state.instance(instance_id));
                Ok(())
            }
            // This clock is behind the broker's, or the deadline was moved: redeliver at the deadline.
            Err(ExecuteError::Rejected(DeadlineRejected::TooEarly { deadline })) => {
                let after = deadline.since(clock::now()).max(MIN_RETRY_DELAY);
                Err(RetryLater { reason: format!("the deadline of instance {instance_id}"), after }.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A message with its timer; none if it is unreadable.
fn received(message: Box<async_nats::jetstream::Message>) -> Result<Received<UserId, InstanceId, Fired, Ack>, Cause> {
    let sequence = message.info()?.stream_sequence;
    let job = match serde_json::from_slice::<Deadline>(&message.payload) {
        Ok(deadline) => Some(((deadline.user_id, deadline.instance_id), Fired { deadline, sequences: vec![sequence] })),
        Err(_) => {
            tracing::warn!(subject = message.subject.as_str(), "dropped an unreadable timer");
            None
        }
    };
    Ok(Received { job, ack: Ack::of(message) })
}
