//! One instance's worker: turns its newest assignment into runtime operations and a report.
//!
//! A run retries an error a few times; after that, the resync starts the next run with backoff. A refusal is final until
//! the next assignment.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use dockhost_domain::ids::InstanceId;
use dockhost_domain::reported::ContainerId;
use dockhost_domain::trace::TraceParent;
use dockhost_domain::wire::{AgentError, Assignment, Phase, Report, ReportKind};
use dockhost_telemetry::trace;
use tracing::field::Empty;

use super::{ContainerCache, LastReport, Reconciler, resources};
use crate::container::{Container, ContainerState};
use crate::runtime::{Runtime, RuntimeError};
use crate::step::{Step, agent_error, next_step};

/// Steps per run, after which the run fails.
const MAX_STEPS_PER_RUN: u32 = 500;
/// Errors per run, after which the run fails.
const MAX_ERRORS_PER_RUN: u32 = 3;
/// Delay before the retry after a run's first error; twice as long after the second.
const ERROR_RETRY_INTERVAL: Duration = Duration::from_millis(300);
/// Interval at which an SSH server is tested.
const SSH_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Interval at which a run that waits for an image looks for a newer assignment.
const SUPERSEDED_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Counters of one run.
#[derive(Default)]
pub(super) struct Attempts {
    steps: u32,
    errors: u32,
    pub(super) starts: u32,
    /// Whether the container was started in this run.
    pub(super) has_started: bool,
    pub(super) port_changes: u32,
    pub(super) image_attempts: u32,
    awaiting_ssh_since: Option<Instant>,
}

/// What a run begins with.
struct Run {
    assignment: Assignment,
    cache: ContainerCache,
    last_reported: Option<LastReport>,
    /// The trace that it continues.
    trace: Option<TraceParent>,
}

/// How a run ended.
pub(super) enum Outcome {
    /// With this report.
    Report(ReportKind),
    /// Without a report: a newer assignment or a container of a higher placement exists.
    NoReport,
    /// The assignment is no longer current: no report, and the instance is forgotten.
    Obsolete,
    /// With an error; the resync retries.
    Failed(AgentError),
}

impl<R: Runtime> Reconciler<R> {
    /// Runs until the instance has no unprocessed change.
    pub(super) async fn run_worker(&self, instance: InstanceId) {
        while let Some(run) = self.begin_run(instance) {
            let span = tracing::info_span!("act", %instance, trace = Empty);
            if trace::in_span(span, run.trace, self.perform(run)).await.is_break() {
                return;
            }
        }
    }

    /// Performs one run. It is the worker's last one if the agent stops, or if the entry was removed: a new one may have its
    /// own worker.
    async fn perform(&self, run: Run) -> ControlFlow<()> {
        let Run { assignment, mut cache, last_reported, .. } = run;
        let outcome = tokio::select! {
            outcome = self.reconcile_until_done(&assignment, &mut cache, last_reported) => outcome,
            // Nothing to undo: after a restart, the list contains the results of all operations.
            () = self.0.stop.cancelled() => return ControlFlow::Break(()),
        };
        let forgotten = self.finish_run(&assignment, cache, outcome);
        self.notify_changed();
        if forgotten { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Marks the entry as clean and returns its data; `None` if it is clean already, or if the agent stops.
    fn begin_run(&self, instance: InstanceId) -> Option<Run> {
        let mut entries = self.0.entries();
        let entry = entries.get_mut(&instance)?;
        let has_changed = entry.dirty || entry.must_check;
        match (&entry.assignment, has_changed && !self.0.stop.is_cancelled()) {
            (Some(assignment), true) => {
                (entry.dirty, entry.must_check) = (false, false);
                Some(Run {
                    assignment: assignment.clone(),
                    cache: entry.cache.clone(),
                    last_reported: entry.last_reported.clone(),
                    trace: entry.trace,
                })
            }
            _ => {
                entry.has_worker = false;
                None
            }
        }
    }

    /// Whether the entry changed since the run began, for example by a newer assignment.
    pub(super) fn is_superseded(&self, assignment: &Assignment) -> bool {
        self.0.entries().get(&assignment.instance_id).is_none_or(|entry| entry.dirty)
    }

    pub(super) async fn until_superseded(&self, assignment: &Assignment) {
        while !self.is_superseded(assignment) {
            tokio::time::sleep(SUPERSEDED_POLL_INTERVAL).await;
        }
    }

    /// Records a run's outcome and queues its report unless it repeats the last one. True if the entry was removed.
    fn finish_run(&self, assignment: &Assignment, cache: ContainerCache, outcome: Outcome) -> bool {
        let mut entries = self.0.entries();
        let Some(entry) = entries.get_mut(&assignment.instance_id) else { return true };
        entry.cache = cache;
        if entry.assignment.is_none() {
            // Suspended meanwhile.
            return false;
        }
        let kind = match outcome {
            Outcome::NoReport => return false,
            Outcome::Obsolete => None,
            Outcome::Report(kind) => {
                if !entry.dirty {
                    entry.trace = None;
                }
                if !matches!(kind, ReportKind::InstanceStatus(_)) {
                    entry.reset_backoff();
                }
                Some(kind)
            }
            Outcome::Failed(error) => {
                let delay = entry.delay_retry(self.0.config.retry_backoff);
                tracing::warn!(instance = %assignment.instance_id, code = %error.code, message = %error.message,
                    retry_in = ?delay, "could not reach the desired state");
                Some(ReportKind::InstanceFailed(error))
            }
        };
        // A deleted instance needs no entry: if its deletion is assigned again, the report is the same.
        let forget = !entry.dirty && kind.as_ref().is_none_or(|kind| *kind == ReportKind::InstanceDeleted);
        if let Some(kind) = kind {
            let report = LastReport { placement: assignment.placement, generation: assignment.generation, kind };
            if report.says_running() {
                entry.ran_in = Some((assignment.placement, assignment.generation));
            }
            if entry.last_reported.as_ref() != Some(&report) {
                self.enqueue_report(assignment, report.kind.clone());
            }
            entry.last_reported = Some(report);
        }
        if forget {
            entries.remove(&assignment.instance_id);
        }
        forget
    }

    pub(super) fn enqueue_report(&self, assignment: &Assignment, kind: ReportKind) {
        tracing::info!(instance = %assignment.instance_id, placement = assignment.placement,
            generation = assignment.generation, ?kind, "reporting");
        self.0.outbox.put(Report {
            instance_id: assignment.instance_id,
            user_id: assignment.user_id,
            placement: assignment.placement,
            generation: assignment.generation,
            kind,
        });
    }

    async fn reconcile_until_done(
        &self,
        assignment: &Assignment,
        cache: &mut ContainerCache,
        last_reported: Option<LastReport>,
    ) -> Outcome {
        let mut attempts = Attempts::default();
        loop {
            if self.is_superseded(assignment) {
                return Outcome::NoReport;
            }
            attempts.steps += 1;
            if attempts.steps > MAX_STEPS_PER_RUN {
                let message = format!("the container is not in the desired state after {MAX_STEPS_PER_RUN} steps");
                return failed("runtime_error", &message);
            }
            match self.reconcile_once(assignment, cache, last_reported.as_ref(), &mut attempts).await {
                Ok(Some(outcome)) => return outcome,
                Ok(None) => {}
                Err(error) => {
                    attempts.errors += 1;
                    if attempts.errors >= MAX_ERRORS_PER_RUN {
                        tracing::warn!(instance = %assignment.instance_id, error = error.with_causes(), "operation failed");
                        return failed("runtime_error", error.for_users().as_str());
                    }
                    tracing::debug!(instance = %assignment.instance_id, error = error.with_causes(), "retrying");
                    tokio::time::sleep(ERROR_RETRY_INTERVAL * attempts.errors).await;
                }
            }
        }
    }

    /// Lists the containers, decides one step and executes it. `Ok(None)`: call again.
    async fn reconcile_once(
        &self,
        assignment: &Assignment,
        cache: &mut ContainerCache,
        last_reported: Option<&LastReport>,
        attempts: &mut Attempts,
    ) -> Result<Option<Outcome>, RuntimeError> {
        let (instance, runtime) = (assignment.instance_id, &self.0.runtime);
        let mut actual = self.with_permit(runtime.list(Some(instance))).await?;
        self.read_host_keys(&actual, cache).await;
        cache.apply_to(&mut actual);
        if actual.is_empty() {
            self.0.capacity.set_gone(instance);
        } else {
            self.0.capacity.set_exists(instance, resources(Some(assignment), &actual));
        }
        if attempts.steps == 1 {
            self.report_unexpected_start(assignment, &actual, last_reported);
        }
        if let Some(outcome) = self.judge_end(assignment, &actual, cache, attempts).await? {
            return Ok(Some(outcome));
        }
        let by_id =
            |id: &ContainerId| actual.iter().find(|container| container.id == *id).ok_or(RuntimeError::NotFound);
        let capacity = self.0.capacity.status_for(instance, resources(Some(assignment), &actual));
        match next_step(assignment, &actual, capacity) {
            Step::Ignore => return Ok(Some(Outcome::NoReport)),
            Step::Report(kind) => return Ok(Some(Outcome::Report(kind))),
            // A node of the broker that catches up may deliver each assignment that an instance once had.
            Step::ReportGone(_) if !self.is_current(assignment).await => return Ok(Some(Outcome::Obsolete)),
            Step::ReportGone(error) => return Ok(Some(Outcome::Report(ReportKind::InstanceFailed(error)))),
            Step::Remove(id) => ignore_not_found(self.with_permit(runtime.remove(&id)).await)?,
            Step::Stop(id) => ignore_not_found(self.with_permit(runtime.stop(&id)).await)?,
            Step::Create => return self.create(assignment, attempts).await,
            Step::Start(id) => return self.start(assignment, by_id(&id)?, cache, attempts).await,
            Step::Authorize(id) => {
                if let Some(spec) = &assignment.container {
                    ignore_not_found(self.with_permit(runtime.authorize(by_id(&id)?, spec)).await)?;
                    tracing::info!(%instance, version = spec.keys().0, "replaced the keys that may log in");
                    cache.keys_version = Some((id, spec.keys().0));
                }
            }
            Step::AwaitSsh(id) => {
                let since = *attempts.awaiting_ssh_since.get_or_insert_with(Instant::now);
                if runtime.is_ssh_ready(by_id(&id)?).await {
                    cache.ssh_ready = Some(id);
                } else if since.elapsed() > self.0.config.ssh_timeout {
                    return Ok(Some(failed("runtime_error", "the SSH server does not answer")));
                } else {
                    // `ssh_timeout` limits the wait, so its steps don't count.
                    attempts.steps -= 1;
                    tokio::time::sleep(SSH_POLL_INTERVAL).await;
                }
            }
        }
        Ok(None)
    }

    /// Reads each container's host keys once. On an error, the reports omit them until a later attempt succeeds.
    async fn read_host_keys(&self, actual: &[Container], cache: &mut ContainerCache) {
        for container in actual {
            let cached = cache.host_keys.as_ref().is_some_and(|(id, _)| *id == container.id);
            let has_started = matches!(container.state, ContainerState::Stopped | ContainerState::Running)
                || cache.ssh_ready.as_ref() == Some(&container.id);
            if cached || !has_started {
                continue;
            }
            match self.with_permit(self.0.runtime.host_keys(container)).await {
                // Not generated yet.
                Ok(keys) if keys.is_empty() => {}
                Ok(keys) => cache.host_keys = Some((container.id.clone(), keys)),
                Err(error) => tracing::warn!(
                    container = %container.id,
                    error = error.with_causes(),
                    "could not read the container's host keys"
                ),
            }
        }
    }

    /// If the container runs although it was reported as stopped, reports that before stopping it.
    fn report_unexpected_start(
        &self,
        assignment: &Assignment,
        actual: &[Container],
        last_reported: Option<&LastReport>,
    ) {
        let Some(LastReport { placement, generation, kind: ReportKind::InstanceStatus(before) }) = last_reported else {
            return;
        };
        if (*placement, *generation) != (assignment.placement, assignment.generation) {
            return;
        }
        if let Some(container) = actual.iter().find(|container| container.id == before.container_id) {
            let now = container.observation();
            if now.phase == Phase::Running && before.phase == Phase::Stopped {
                self.enqueue_report(assignment, ReportKind::InstanceStatus(now));
                self.clear_last_reported(assignment.instance_id);
            }
        }
    }

    /// Ensures that the next report is sent even if it equals the one before the unexpected change. The change counts as
    /// a failure, so a container that keeps starting is stopped with backoff.
    fn clear_last_reported(&self, instance: InstanceId) {
        if let Some(entry) = self.0.entries().get_mut(&instance) {
            entry.last_reported = None;
            entry.delay_retry(self.0.config.retry_backoff);
        }
    }

    /// Executes a runtime operation within the limit on concurrent ones.
    pub(super) async fn with_permit<T>(
        &self,
        operation: impl Future<Output = Result<T, RuntimeError>>,
    ) -> Result<T, RuntimeError> {
        // An error would mean that the semaphore is closed, which never happens.
        let _permit = self.0.operations.acquire().await.ok();
        operation.await
    }
}

pub(super) fn failed(code: &str, message: &str) -> Outcome {
    Outcome::Failed(agent_error(code, message))
}

fn ignore_not_found(result: Result<(), RuntimeError>) -> Result<(), RuntimeError> {
    match result {
        Err(RuntimeError::NotFound) => Ok(()),
        other => other,
    }
}
