//! Timers: end each transitional state of an instance at its deadline.
//!
//! An event that sets a deadline puts one schedule per instance and generation into TIMERS; when the broker fires it,
//! the role executes the command that ends the state. Schedules come from the current state, so replaying the log
//! creates only those that still matter. A late timer is a no-op.

use std::sync::Arc;
use std::time::Duration;

use async_nats::header::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Stream;
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::event::Event;
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::subject::{AggregateId, Channel, FIRED_TIMERS};
use dockhost_domain::tenancy::{DeadlineRejected, HandleDeadline, Policy, Tenancy};
use dockhost_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::broker::consumer::durable::{Ack, DurableConsumer};
use crate::broker::streams::TIMERS;
use crate::broker::streams::incarnation::StreamIncarnation;
use crate::common::clock;
use crate::common::error::{Cause, chain};
use crate::event_log::Filter;
use crate::event_log::jetstream::JetStreamLog;
use crate::execute::{ExecuteError, Executor};
use crate::leader::job_runner::{self, EventSource};
use crate::replica::follower::Follower;

/// Deadlines are seconds away, and most transitional states end within milliseconds: those need no schedule.
const DEBOUNCE: Duration = Duration::from_millis(250);

/// The payload of a schedule.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Deadline {
    user_id: UserId,
    instance_id: InstanceId,
    generation: u32,
}

/// The timers role.
pub struct Timers {
    /// The broker.
    pub jetstream: Context,
    /// The stream TIMERS.
    pub stream: Stream,
    /// The log.
    pub log: Arc<JetStreamLog>,
    /// Executes the commands.
    pub executor: Arc<Executor>,
    /// Knows the fleet.
    pub follower: Arc<Follower>,
    /// Deadlines of instances.
    pub policy: Policy,
}

impl Timers {
    /// Schedules deadlines and handles fired ones until cancelled. A stream TIMERS that was made again is filled from the
    /// whole log.
    ///
    /// # Errors
    /// When the broker can't be reached.
    pub async fn run(self, timers: StreamIncarnation, cancel: CancellationToken) -> Result<(), Cause> {
        let consumer = format!("timers-{}", timers.created_at());
        let schedules = job_runner::process_events(
            EventSource { role: "timers", consumer: &consumer, filter: Filter::Kind("tenancy"), debounce: DEBOUNCE },
            &self.log,
            &cancel,
            |recorded| match (&recorded.envelope.aggregate, &recorded.envelope.event) {
                (AggregateId::Tenancy(user), Event::Tenancy(event)) if event.sets_deadline() => {
                    event.instance_id().map(|instance| ((*user, instance), (*user, instance)))
                }
                _ => None,
            },
            |_, _| {},
            |(user, instance)| self.schedule_deadline(user, instance),
        );
        tokio::try_join!(async { schedules.await.map_err(Cause::from) }, self.process_fired(&cancel))?;
        Ok(())
    }

    /// Schedules the deadline of an instance, if its state has one.
    ///
    /// # Errors
    /// When the log or the stream TIMERS can't be reached.
    pub async fn schedule_deadline(&self, user_id: UserId, instance_id: InstanceId) -> Result<(), Cause> {
        let tenancy = self.executor.confirmed::<Tenancy>(user_id).await?;
        let Some(instance) = tenancy.state.instance(instance_id) else { return Ok(()) };
        let Some(deadline) = instance.deadline() else { return Ok(()) };
        self.schedule(Deadline { user_id, instance_id, generation: instance.generation }, deadline).await
    }

    async fn schedule(&self, deadline: Deadline, at: Timestamp) -> Result<(), Cause> {
        let (instance, generation) = (deadline.instance_id, deadline.generation);
        let target = Channel::FiredTimer(instance, generation).to_string();
        let mut headers = HeaderMap::new();
        headers.insert(async_nats::header::NATS_SCHEDULE, format!("@at {at}"));
        headers.insert(async_nats::header::NATS_SCHEDULE_TARGET, target.as_str());
        let subject = Channel::ScheduledTimer(instance, generation).to_string();
        let payload = serde_json::to_vec(&deadline)?;
        self.jetstream.publish_with_headers(subject, headers, payload.into()).await?.await?;
        Ok(())
    }

    async fn process_fired(&self, cancel: &CancellationToken) -> Result<(), Cause> {
        let mut consumer = DurableConsumer::new(self.jetstream.clone(), TIMERS, "deadlines", FIRED_TIMERS.to_owned());
        while let Some(messages) = cancel
            .run_until_cancelled(consumer.next_batch(job_runner::MESSAGES_PER_BATCH, job_runner::MAX_IDLE_WAIT))
            .await
        {
            for message in messages? {
                let Ok(deadline) = serde_json::from_slice::<Deadline>(&message.payload) else {
                    tracing::warn!(subject = message.subject.as_str(), "dropped an unreadable timer");
                    drop(Ack::of(message).confirm().await);
                    continue;
                };
                let sequence = message.info()?.stream_sequence;
                self.end_state(deadline, sequence, Ack::of(message)).await;
            }
        }
        Ok(())
    }

    /// Deletes a handled timer; one that stays only takes up space.
    async fn delete_fired(&self, sequence: u64) {
        if let Err(error) = self.stream.delete_message(sequence).await {
            tracing::debug!(sequence, %error, "could not delete a handled timer");
        }
    }

    async fn end_state(&self, deadline: Deadline, sequence: u64, ack: Ack) {
        let Deadline { user_id, instance_id, generation } = deadline;
        self.follower.fleet().wait_for_heartbeats().await;
        let facts = self.follower.facts(self.policy, instance_id);
        let command = HandleDeadline { instance_id, generation, facts };
        let origin = Origin { actor: Actor::System, cause: format!("timer:{sequence}"), trace_parent: None };
        let acknowledged = match self.executor.execute(user_id, origin, command).await {
            Ok(_) => {
                let acknowledged = ack.confirm().await;
                self.delete_fired(sequence).await;
                acknowledged
            }
            // This clock is behind the broker's, or the deadline was moved: redeliver at the deadline.
            Err(ExecuteError::Rejected(DeadlineRejected::TooEarly { deadline })) => {
                ack.retry_after(deadline.since(clock::now()).max(Duration::from_millis(50))).await
            }
            // The state can't be changed here; the deadline is scheduled again when the tenancy is released.
            Err(ExecuteError::Frozen(_)) => {
                tracing::warn!(%instance_id, "deadline of a frozen instance skipped");
                ack.confirm().await
            }
            Err(error) => {
                tracing::warn!(%instance_id, error = chain(&error), "handling a deadline failed; retrying");
                ack.retry_after(job_runner::RETRY_DELAY).await
            }
        };
        // If the acknowledgement is lost, the timer is redelivered and is a no-op.
        drop(acknowledged);
    }
}
