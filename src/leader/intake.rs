//! Intake: executes the agents' reports as commands, in the order of REPORTS.
//!
//! The subject identifies the backend; the broker enforces it. A report that yields no event reconciles the backend's
//! assignment, because the backend may differ from the desired state. Reports are acknowledged afterwards; the tenancy
//! remembers each report's position, so a redelivered one is a no-op.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_nats::jetstream::{Context, Message};
use backon::{ConstantBuilder, Retryable};
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::{BackendId, UserId};
use dockhost_domain::subject::{ALL_REPORTS, Channel};
use dockhost_domain::tenancy::{HandleReport, Policy, ReportPosition, ReportRejected, Tenancy};
use dockhost_domain::wire::{Report, ReportKind};
use tokio_util::sync::CancellationToken;

use super::dispatcher::{Dispatcher, Trigger, WorkItem};
use crate::broker::consumer::durable::{Ack, DurableConsumer};
use crate::broker::streams::REPORTS;
use crate::common::error::Cause;
use crate::execute::{ExecuteError, Executed, Executor};
use crate::leader::job_runner::{self, process_groups};
use crate::replica::follower::Follower;

/// Retries of a report before it fails. A failed report is redelivered after newer ones.
const MAX_RETRIES_IN_ORDER: usize = 10;

/// The intake role.
pub struct Intake {
    /// The broker.
    pub jetstream: Context,
    /// When the stream REPORTS was created, in Unix milliseconds.
    pub incarnation: u64,
    /// Executes the commands.
    pub executor: Arc<Executor>,
    /// Knows the fleet.
    pub follower: Arc<Follower>,
    /// Deadlines of instances.
    pub policy: Policy,
    /// Reconciles after a report without an event; it processes events itself.
    pub dispatcher: Arc<Dispatcher>,
}

struct Received {
    backend: BackendId,
    report: Report,
    sequence: u64,
}

fn read(message: &Message) -> Result<Received, Cause> {
    let Channel::Report(backend) = message.subject.parse()? else { return Err("not a report subject".into()) };
    let sequence = message.info()?.stream_sequence;
    Ok(Received { backend, report: serde_json::from_slice(&message.payload)?, sequence })
}

impl Intake {
    /// Processes reports until cancelled.
    ///
    /// # Errors
    /// When the broker can't be reached.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Cause> {
        let mut consumer = DurableConsumer::new(self.jetstream.clone(), REPORTS, "intake", ALL_REPORTS.to_owned());
        while let Some(messages) = cancel
            .run_until_cancelled(consumer.next_batch(job_runner::MESSAGES_PER_BATCH, job_runner::MAX_IDLE_WAIT))
            .await
        {
            let mut groups: BTreeMap<UserId, (Vec<Received>, Vec<Ack>)> = BTreeMap::new();
            for message in messages? {
                match read(&message) {
                    Ok(received) => {
                        let group = groups.entry(received.report.user_id).or_default();
                        group.0.push(received);
                        group.1.push(Ack::of(message));
                    }
                    Err(error) => {
                        let subject = message.subject.as_str();
                        tracing::warn!(subject, %error, "dropped an unreadable report");
                        drop(Ack::of(message).confirm().await);
                    }
                }
            }
            process_groups("intake", groups, |reports| self.handle_in_order(reports)).await;
        }
        Ok(())
    }

    async fn handle_in_order(&self, reports: Vec<Received>) -> Result<(), Cause> {
        for received in reports {
            self.handle(received).await?;
        }
        Ok(())
    }

    /// Executes the command, retrying while the log is unavailable: a redelivered report would come after newer ones.
    async fn execute_with_retry(
        &self,
        user: UserId,
        origin: Origin,
        command: HandleReport,
    ) -> Result<Executed<Tenancy>, ExecuteError<ReportRejected>> {
        let retries =
            ConstantBuilder::default().with_delay(job_runner::RETRY_DELAY).with_max_times(MAX_RETRIES_IN_ORDER);
        (|| self.executor.execute(user, origin.clone(), command.clone()))
            .retry(retries)
            .when(|error| matches!(error, ExecuteError::Busy | ExecuteError::Unavailable(_) | ExecuteError::Unknown(_)))
            .await
    }

    async fn handle(&self, Received { backend, report, sequence }: Received) -> Result<(), Cause> {
        let (user, instance, placement) = (report.user_id, report.instance_id, report.placement);
        let removed = report.kind == ReportKind::InstanceDeleted;
        let position = ReportPosition { incarnation: self.incarnation, sequence };
        let facts = self.follower.facts(self.policy, instance);
        let command = HandleReport { backend_id: backend, report, position, facts };
        let origin = Origin { actor: Actor::Backend(backend), cause: format!("report:{sequence}"), trace_parent: None };
        let trigger = match self.execute_with_retry(user, origin, command).await {
            Ok(done) if done.stored.is_some() => return Ok(()),
            Ok(_) if removed => Trigger::Removed,
            Ok(_) => Trigger::Changed,
            Err(ExecuteError::Rejected(ReportRejected::OrphanedContainer)) => Trigger::OrphanedContainer { placement },
            Err(error) => return Err(error.into()),
        };
        Ok(self.dispatcher.reconcile(&WorkItem::for_backend(user, instance, backend, trigger)).await?)
    }
}
