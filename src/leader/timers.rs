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
use dockhost_domain::event::Event;
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::subject::{AggregateId, Channel};
use dockhost_domain::tenancy::{Policy, Tenancy};
use dockhost_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::broker::streams::incarnation::StreamIncarnation;
use crate::common::error::Cause;
use crate::event_log::jetstream::JetStreamLog;
use crate::execute::Executor;
use crate::leader::job_runner::{self, EventSource};
use crate::metrics::Metrics;
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
    /// What is counted and measured.
    pub metrics: Arc<Metrics>,
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
            EventSource {
                role: "timers",
                consumer: &consumer,
                kind: "tenancy",
                debounce: DEBOUNCE,
                follower: &self.follower,
            },
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
}

mod fired;
