//! Intake: executes the agents' reports as commands, in turn by backend and by user ([`super::turns`]).
//!
//! The subject identifies the backend; the broker enforces it. Reports of a backend that floods are dropped unread, and so
//! is one of another agent than the backend's holder when it was read: the holder reports everything again after its
//! hello. Reports beyond the backend's limits wait. A report replaces an earlier one of the same agent about the same
//! placement that still waits, because each says everything. A report that yields no event reconciles the backend's
//! assignment, because the backend may differ from the desired state. Each report is acknowledged afterwards; the tenancy
//! remembers each report's position, so a redelivered one is a no-op. The reports of one backend about one user are
//! processed in the order of REPORTS; the tenancy ignores what other backends than an instance's current one report.

use std::sync::Arc;

use async_nats::HeaderValue;
use async_nats::jetstream::{Context, Message};
use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::event::Event;
use dockhost_domain::ids::{AgentRunId, BackendId, InstanceId, UserId};
use dockhost_domain::reported;
use dockhost_domain::subject::{ALL_REPORTS, Channel};
use dockhost_domain::tenancy::{HandleReport, Policy, ReportPosition, ReportRejected, Tenancy};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::trace::{HEADER as TRACE_PARENT, TraceParent};
use dockhost_domain::wire::{AGENT_RUN_HEADER, Report, ReportKind};
use dockhost_telemetry::trace;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;

use super::dispatcher::{Dispatcher, Trigger, WorkItem};
use super::turns::{Pushed, Turns};
use crate::broker::agent_gate::AgentGate;
use crate::broker::agent_limits::AgentMessage;
use crate::broker::assignments::Assignments;
use crate::broker::consumer::durable::{Ack, DurableConsumer};
use crate::broker::dropped::{MessageKind, OtherAgent};
use crate::broker::holders::Holders;
use crate::broker::streams::REPORTS;
use crate::broker::streams::incarnation::StreamIncarnation;
use crate::broker::streams::store_probe::REPORTS_PROBE;
use crate::common::clock;
use crate::common::error::Cause;
use crate::execute::{ExecuteError, Executor};
use crate::leader::failed_operation;
use crate::leader::job_runner::{self, catch_panic};
use crate::replica::follower::Follower;

/// Retries of a report before it fails. A failed report is redelivered after newer ones.
const MAX_RETRIES_IN_ORDER: usize = 10;
/// Reports that may be unacknowledged at once: what waits of ten backends with full lanes.
const MAX_ACK_PENDING: i64 = 10_000;
/// Assignments `deleted` about containers that a backend should not have, beside the assignments of all it has room for.
const MAX_LEFTOVERS: usize = 64;

/// The intake role.
pub struct Intake {
    /// The connection for what agents send.
    pub jetstream: Context,
    /// The stream REPORTS.
    pub reports: StreamIncarnation,
    /// Executes the commands.
    pub executor: Arc<Executor>,
    /// Knows the fleet.
    pub follower: Arc<Follower>,
    /// Deadlines of instances.
    pub policy: Policy,
    /// Limits what backends send.
    pub gate: Arc<AgentGate>,
    /// Who holds each backend.
    pub holders: Arc<Holders>,
    /// The stream ASSIGNMENTS.
    pub assignments: Assignments,
    /// Reconciles after a report without an event; it processes events itself.
    pub dispatcher: Arc<Dispatcher>,
}

/// Reports of one backend about one user are processed in order.
type Lane = (BackendId, UserId);
/// Whose reports are processed next.
type Queue = Turns<BackendId, UserId, Queued>;

struct Received {
    backend: BackendId,
    report: Report,
    sequence: u64,
    /// When the broker stored it.
    stored_at: Timestamp,
    /// The run of the agent that sent it.
    run: Option<AgentRunId>,
    /// The trace in which the agent sent it.
    trace: Option<TraceParent>,
}

impl Received {
    /// What it reports on, and the agent that does.
    const fn about(&self) -> (InstanceId, u32, Option<AgentRunId>) {
        (self.report.instance_id, self.report.placement, self.run)
    }
}

struct Queued {
    received: Received,
    ack: Ack,
}

fn sender(message: &Message) -> Result<BackendId, Cause> {
    let Channel::Report(backend) = message.subject.parse()? else { return Err("not a report subject".into()) };
    Ok(backend)
}

/// Reads a report. Counts one that is malformed, and returns `None`.
fn read(message: &Message, backend: BackendId, gate: &AgentGate) -> Result<Option<Received>, Cause> {
    match reported::parse(&message.payload) {
        Ok(report) => {
            let header = |name| message.headers.as_ref().and_then(|headers| headers.get(name)).map(HeaderValue::as_str);
            let run = header(AGENT_RUN_HEADER).and_then(|run| run.parse().ok());
            let trace = header(TRACE_PARENT).and_then(|trace| trace.parse().ok());
            let info = message.info()?;
            let stored_at = i64::try_from(info.published.unix_timestamp_nanos() / 1_000_000)?;
            let (sequence, stored_at) = (info.stream_sequence, Timestamp::from_millis(stored_at));
            Ok(Some(Received { backend, report, sequence, stored_at, run, trace }))
        }
        Err(malformed) => {
            gate.malformed().record(backend, MessageKind::Report, malformed);
            gate.accepts(backend, AgentMessage::UnreadableReport);
            Ok(None)
        }
    }
}

/// Whether the log may execute the command later.
const fn is_transient<R>(error: &ExecuteError<R>) -> bool {
    matches!(error, ExecuteError::Busy | ExecuteError::Unavailable(_) | ExecuteError::Unknown(_))
}

impl Intake {
    /// Processes reports until cancelled.
    ///
    /// # Errors
    /// When the broker can't be reached.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Cause> {
        let consumer = DurableConsumer::new(self.jetstream.clone(), REPORTS, "intake", ALL_REPORTS.to_owned());
        let (intake, turns, mut lanes) = (Arc::new(self), Arc::new(Queue::default()), JoinSet::new());
        let consumer = consumer.with_max_ack_pending(MAX_ACK_PENDING);
        let cancel = cancel.child_token();
        let outcome = Self::receive(&intake, &turns, consumer, &mut lanes, &cancel).await;
        // What is under way ends without further retries, so that the role can restart; what waits is redelivered.
        cancel.cancel();
        turns.close();
        while lanes.join_next().await.is_some() {}
        outcome
    }

    async fn receive(
        intake: &Arc<Self>,
        turns: &Arc<Queue>,
        mut consumer: DurableConsumer,
        lanes: &mut JoinSet<()>,
        cancel: &CancellationToken,
    ) -> Result<(), Cause> {
        consumer.open().await?;
        // A position of a new stream under the old one's incarnation would make its reports look like old ones.
        intake.reports.check(&intake.jetstream).await?;
        while let Some(messages) = cancel
            .run_until_cancelled(consumer.next_batch(job_runner::MESSAGES_PER_BATCH, job_runner::MAX_IDLE_WAIT))
            .await
        {
            for message in messages? {
                let Some((lane, queued)) = intake.accept(message).await else { continue };
                let sequence = queued.received.sequence;
                if turns.waits(lane, |waiting: &Queued| waiting.received.sequence == sequence) {
                    // Redelivered because it waits for long.
                    continue;
                }
                let about = queued.received.about();
                let age = clock::now().since(queued.received.stored_at);
                let is_older =
                    |Queued { received, .. }: &Queued| received.about() == about && received.sequence < sequence;
                let queued = match turns.replace(lane, queued, is_older) {
                    Ok(older) => {
                        intake.gate.accepts(lane.0, AgentMessage::ReplacingReport { age });
                        drop(older.ack.confirm().await);
                        continue;
                    }
                    Err(queued) => queued,
                };
                match turns.push(lane, queued) {
                    Pushed::Start(first) => {
                        let (intake, turns, cancel) = (Arc::clone(intake), Arc::clone(turns), cancel.clone());
                        lanes.spawn(async move { intake.process_lane(lane, first, &turns, &cancel).await });
                    }
                    Pushed::Queued => {}
                    Pushed::Full(Queued { ack, .. }) => drop(ack.retry_after(job_runner::RETRY_DELAY).await),
                }
            }
            while lanes.try_join_next().is_some() {}
        }
        Ok(())
    }

    /// Reads a message, unless it is dropped.
    async fn accept(&self, message: Box<Message>) -> Option<(Lane, Queued)> {
        if message.subject.as_str() == REPORTS_PROBE {
            drop(Ack::of(message).confirm().await);
            return None;
        }
        let read = sender(&message)
            .and_then(|backend| if self.gate.drops(backend) { Ok(None) } else { read(&message, backend, &self.gate) });
        match read {
            Ok(Some(received)) => {
                let lane = (received.backend, received.report.user_id);
                return Some((lane, Queued { received, ack: Ack::of(message) }));
            }
            Ok(None) => {}
            // The subject and the reply subject are the broker's, not the agent's.
            Err(error) => tracing::warn!(%error, "dropped a message that is no report"),
        }
        drop(Ack::of(message).confirm().await);
        None
    }

    /// Processes a lane until nothing waits in it.
    async fn process_lane(&self, lane: Lane, first: Queued, turns: &Queue, cancel: &CancellationToken) {
        let mut next = Some(first);
        while let Some(Queued { received, ack }) = next {
            let mut attempts = 0;
            match self.wait_for_limit(&received, cancel).await {
                Limit::Allows => {}
                Limit::Drops => {
                    drop(ack.confirm().await);
                    next = turns.next(lane);
                    continue;
                }
                Limit::Cancelled => return,
            }
            let outcome = loop {
                let turn = turns.turn(lane.0).await;
                let outcome = catch_panic(self.handle(&received)).await;
                drop(turn);
                attempts += 1;
                // Only this lane waits. If it went on, the redelivered report would come after newer ones.
                match outcome {
                    Ok(Handled::Retry(_)) if attempts <= MAX_RETRIES_IN_ORDER && !cancel.is_cancelled() => {
                        cancel.run_until_cancelled(tokio::time::sleep(job_runner::RETRY_DELAY)).await;
                    }
                    Ok(Handled::Retry(error)) => break Err(error),
                    Ok(Handled::Done(outcome)) => break outcome,
                    Err(panicked) => break Err(panicked.into()),
                }
            };
            job_runner::settle("intake", &outcome, [ack]).await;
            next = turns.next(lane);
        }
    }

    /// Waits until the backend's limits allow the report.
    async fn wait_for_limit(&self, received: &Received, cancel: &CancellationToken) -> Limit {
        let instance = (received.report.instance_id, received.report.generation);
        while !self.gate.drops(received.backend) {
            let Some(wait) = self.gate.report_wait(received.backend, instance) else { return Limit::Allows };
            if cancel.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return Limit::Cancelled;
            }
        }
        Limit::Drops
    }

    /// Processes a report, in the trace of its assignment.
    async fn handle(&self, received: &Received) -> Handled {
        let Received { backend, report, .. } = received;
        let span = tracing::info_span!("report", %backend, instance = %report.instance_id, trace = Empty);
        trace::in_span(span, received.trace, self.check_and_execute(received)).await
    }

    async fn check_and_execute(&self, received: &Received) -> Handled {
        match self.holders.counts(received.backend, received.run).await {
            Ok(true) => {}
            Ok(false) => {
                self.gate.of_other_agents().record(received.backend, MessageKind::Report, OtherAgent);
                return Handled::Done(Ok(()));
            }
            Err(error) => return Handled::Retry(error),
        }
        match self.execute(received).await {
            Ok(None) => Handled::Done(Ok(())),
            Ok(Some(trigger)) => {
                let Report { user_id, instance_id, .. } = received.report;
                let item = WorkItem::for_backend(user_id, instance_id, received.backend, trigger);
                Handled::Done(self.dispatcher.reconcile(&item).await.map_err(Cause::from))
            }
            Err(error) if is_transient(&error) => Handled::Retry(error.into()),
            Err(error) => Handled::Done(Err(error.into())),
        }
    }

    /// Executes the command; returns why to reconcile, if there is need.
    async fn execute(
        &self,
        Received { backend, report, sequence, .. }: &Received,
    ) -> Result<Option<Trigger>, ExecuteError<ReportRejected>> {
        let (backend, user, instance, placement) = (*backend, report.user_id, report.instance_id, report.placement);
        let position = ReportPosition { incarnation: self.reports.created_at(), sequence: *sequence };
        // Others end no operation without success. A state that somebody holds is copied before it is changed.
        let mut before = None;
        if matches!(report.kind, ReportKind::InstanceRefused(_) | ReportKind::InstanceFailed(_)) {
            self.follower.fleet().wait_for_heartbeats().await;
            before = Some(self.executor.state::<Tenancy>(user).await?);
        }
        let facts = self.follower.facts(self.policy, instance);
        let command = HandleReport { backend_id: backend, report: report.clone(), position, facts };
        let origin = Origin::new(Actor::Backend(backend), format!("report:{sequence}"));
        match self.executor.execute(user, origin, command).await {
            Ok(done) if done.stored.is_some() => {
                if let Some(before) = before {
                    let (before, after) = (before.state.instance(instance), done.current.state.instance(instance));
                    failed_operation::log(instance, before, after);
                }
                Ok(None)
            }
            Ok(_) if report.kind == ReportKind::InstanceDeleted => Ok(Some(Trigger::Removed)),
            Ok(_) => Ok(Some(Trigger::Changed)),
            Err(ExecuteError::Rejected(ReportRejected::OrphanedContainer)) => {
                let told = self.may_be_told_to_remove(backend, user, instance).await?;
                Ok(told.then_some(Trigger::OrphanedContainer { placement }))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether an assignment `deleted` may be left for a backend: only about an instance of the log, and not too many.
    async fn may_be_told_to_remove(
        &self,
        backend: BackendId,
        user: UserId,
        instance: InstanceId,
    ) -> Result<bool, ExecuteError<ReportRejected>> {
        let known = self.executor.state::<Tenancy>(user).await?.state.instance(instance).is_some();
        // The state forgets deleted instances after a while.
        if !known && !self.was_in_log(user, instance).await? {
            self.gate.count_unknown_instance(backend);
            tracing::debug!(%backend, %instance, "report about an unknown instance ignored");
            return Ok(false);
        }
        let room = self.follower.fleet().machine(backend).map_or(0, |machine| machine.max_containers());
        let assigned = self.assignments.of(backend).await.map_err(|error| ExecuteError::Unavailable(error.into()))?;
        Ok(assigned.len() < usize::try_from(room).unwrap_or(usize::MAX).saturating_add(MAX_LEFTOVERS))
    }

    async fn was_in_log(&self, user: UserId, instance: InstanceId) -> Result<bool, ExecuteError<ReportRejected>> {
        let events = self.executor.log().load(Tenancy::subject(user), 0).await?;
        Ok(events.iter().any(|recorded| match &recorded.envelope.event {
            Event::Tenancy(event) => event.instance_id() == Some(instance),
            _ => false,
        }))
    }
}

/// Whether to process a report.
enum Limit {
    Allows,
    /// The backend is refused.
    Drops,
    Cancelled,
}

/// What became of a report.
enum Handled {
    /// It is settled, or redelivered.
    Done(Result<(), Cause>),
    /// The log did not take it now.
    Retry(Cause),
}
