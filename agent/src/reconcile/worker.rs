//! One worker's run: from an assignment to a report.
//!
//! In: the newest assignment of one instance. Out: the runtime as wanted and a report, or a report of why not. Errors
//! that may pass are tried again a few times at once, and then by the tick with growing pauses; refusals are final
//! until the next assignment.

use std::time::{Duration, Instant};

use dockhost_domain::ids::InstanceId;
use dockhost_domain::wire::{AgentError, Assignment, Report, ReportKind};

use super::{ContainerCache, LastReport, Reconciler};
use crate::container::{Container, ContainerState};
use crate::runtime::{Runtime, RuntimeError};
use crate::step::{Step, next_step};

/// Looks at one instance in one run before it counts as a failure.
const MAX_STEPS_PER_RUN: u32 = 500;
/// Errors of one run that are tried again at once.
const MAX_ERRORS_PER_RUN: u32 = 3;

/// What a run has tried so far.
#[derive(Default)]
pub(super) struct Attempts {
    steps: u32,
    errors: u32,
    pub(super) starts: u32,
    pub(super) port_changes: u32,
    pub(super) image_attempts: u32,
    awaiting_since: Option<Instant>,
}

/// How a run ended.
pub(super) enum Outcome {
    /// With something to enqueue_report.
    Report(ReportKind),
    /// With nothing to enqueue_report.
    NoReport,
    /// Nobody wants it any more: there is nothing to enqueue_report, and nothing to keep.
    Obsolete,
    /// With an error that may pass.
    Failed(AgentError),
}

impl<R: Runtime> Reconciler<R> {
    /// Works at this instance until there is nothing more to do.
    pub(super) async fn run_worker(&self, instance: InstanceId) {
        while let Some((assignment, cache, last_reported)) = self.begin_run(instance) {
            let mut cache = cache;
            let outcome = tokio::select! {
                outcome = self.reconcile_until_done(&assignment, &mut cache, last_reported) => outcome,
                // Nothing needs to be undone: the next start finds what was half done.
                () = self.0.stop.cancelled() => return,
            };
            let forgotten = self.finish_run(&assignment, cache, outcome);
            self.notify_changed();
            if forgotten {
                // The entry is gone, and a new one may have a worker of its own.
                return;
            }
        }
    }

    /// What to do next; marks the entry as looked at. Nothing when it is clean, or the agent stops.
    fn begin_run(&self, instance: InstanceId) -> Option<(Assignment, ContainerCache, Option<LastReport>)> {
        let mut entries = self.0.entries();
        let entry = entries.get_mut(&instance)?;
        match (&entry.assignment, entry.dirty && !self.0.stop.is_cancelled()) {
            (Some(assignment), true) => {
                entry.dirty = false;
                Some((assignment.clone(), entry.cache.clone(), entry.last_reported.clone()))
            }
            _ => {
                entry.has_worker = false;
                None
            }
        }
    }

    /// Whether a newer assignment waits, so that this run should give way.
    pub(super) fn is_superseded(&self, assignment: &Assignment) -> bool {
        self.0.entries().get(&assignment.instance_id).is_none_or(|entry| entry.dirty)
    }

    pub(super) async fn until_superseded(&self, assignment: &Assignment) {
        while !self.is_superseded(assignment) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Notes how a run ended, and says it if it is news. True when the entry is forgotten with it.
    fn finish_run(&self, assignment: &Assignment, cache: ContainerCache, outcome: Outcome) -> bool {
        let mut entries = self.0.entries();
        let Some(entry) = entries.get_mut(&assignment.instance_id) else { return true };
        entry.cache = cache;
        let news = match outcome {
            Outcome::NoReport => return false,
            Outcome::Obsolete => None,
            Outcome::Report(news) => {
                if !matches!(news, ReportKind::InstanceStatus(_)) {
                    (entry.failures, entry.retry_at) = (0, None);
                }
                Some(news)
            }
            Outcome::Failed(trouble) => {
                let (first, longest) = self.0.config.retry_backoff;
                let pause = first.saturating_mul(1 << entry.failures.min(16)).min(longest);
                entry.failures += 1;
                entry.retry_at = Some(Instant::now() + pause);
                tracing::warn!(instance = %assignment.instance_id, code = trouble.code, message = trouble.message,
                    retry_in = ?pause, "could not do what is wanted");
                Some(ReportKind::InstanceFailed(trouble))
            }
        };
        // A confirmed deletion needs no entry: asked again, the answer is the same. Nor does what nobody wants any more.
        let forget = !entry.dirty && news.as_ref().is_none_or(|news| *news == ReportKind::InstanceDeleted);
        if let Some(news) = news {
            let last_reported = LastReport { placement: assignment.placement, generation: assignment.generation, news };
            if entry.last_reported.as_ref() != Some(&last_reported) {
                self.enqueue_report(assignment, last_reported.news.clone());
            }
            entry.last_reported = Some(last_reported);
        }
        if forget {
            entries.remove(&assignment.instance_id);
        }
        forget
    }

    pub(super) fn enqueue_report(&self, assignment: &Assignment, news: ReportKind) {
        tracing::info!(instance = %assignment.instance_id, ?news, "reporting");
        self.0.outbox.put(Report {
            instance_id: assignment.instance_id,
            user_id: assignment.user_id,
            placement: assignment.placement,
            generation: assignment.generation,
            kind: news,
        });
    }

    async fn reconcile_until_done(
        &self,
        wanted: &Assignment,
        cache: &mut ContainerCache,
        last_reported: Option<LastReport>,
    ) -> Outcome {
        let mut attempts = Attempts::default();
        loop {
            if self.is_superseded(wanted) {
                return Outcome::NoReport;
            }
            attempts.steps += 1;
            if attempts.steps > MAX_STEPS_PER_RUN {
                return failed("runtime_error", "the container doesn't become what is wanted".to_owned());
            }
            match self.reconcile_once(wanted, cache, last_reported.as_ref(), &mut attempts).await {
                Ok(Some(outcome)) => return outcome,
                Ok(None) => {}
                Err(error) => {
                    attempts.errors += 1;
                    if attempts.errors >= MAX_ERRORS_PER_RUN {
                        return failed("runtime_error", error.with_causes());
                    }
                    tracing::debug!(instance = %wanted.instance_id, error = error.with_causes(), "trying again");
                    tokio::time::sleep(Duration::from_millis(300) * attempts.errors).await;
                }
            }
        }
    }

    /// Looks, decides and acts once. `Ok(None)`: look again.
    async fn reconcile_once(
        &self,
        wanted: &Assignment,
        cache: &mut ContainerCache,
        last_reported: Option<&LastReport>,
        attempts: &mut Attempts,
    ) -> Result<Option<Outcome>, RuntimeError> {
        let (instance, runtime) = (wanted.instance_id, &self.0.runtime);
        let mut actual = self.with_permit(runtime.list(Some(instance))).await?;
        self.read_host_keys(&actual, cache).await;
        cache.apply_to(&mut actual);
        self.0.capacity.set_exists(instance, !actual.is_empty());
        if attempts.steps == 1 {
            self.report_unexpected_change(wanted, &actual, last_reported);
        }
        let by_id = |id: &str| actual.iter().find(|container| container.id == id).ok_or(RuntimeError::NotFound);
        match next_step(wanted, &actual, self.0.capacity.status_for(instance)) {
            Step::Ignore => return Ok(Some(Outcome::NoReport)),
            Step::Report(news) => return Ok(Some(Outcome::Report(news))),
            Step::Remove(id) => ignore_not_found(self.with_permit(runtime.remove(&id)).await)?,
            Step::Stop(id) => ignore_not_found(self.with_permit(runtime.stop(&id)).await)?,
            Step::Create => return self.create(wanted, attempts).await,
            Step::Start(id) => return self.start(wanted, by_id(&id)?, cache, attempts).await,
            Step::AwaitSsh(id) => {
                let since = *attempts.awaiting_since.get_or_insert_with(Instant::now);
                if runtime.is_ssh_ready(by_id(&id)?).await {
                    cache.ssh_ready = Some(id);
                } else if since.elapsed() > self.0.config.ssh_timeout {
                    return Ok(Some(failed("runtime_error", "its SSH server doesn't answer".to_owned())));
                } else {
                    // The steps of waiting don't count: time does.
                    attempts.steps -= 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        Ok(None)
    }

    /// Asks once per container for the fingerprints that users resync. Not knowing them stops nothing.
    async fn read_host_keys(&self, actual: &[Container], cache: &mut ContainerCache) {
        for container in actual {
            let known = cache.host_keys.as_ref().is_some_and(|(id, _)| *id == container.id);
            let has_some =
                container.state == ContainerState::Stopped || cache.ssh_ready.as_ref() == Some(&container.id);
            if known || !(has_some || container.state == ContainerState::Running) {
                continue;
            }
            match self.with_permit(self.0.runtime.host_keys(container)).await {
                // It has made none yet, and is asked again.
                Ok(keys) if keys.is_empty() => {}
                Ok(keys) => cache.host_keys = Some((container.id.clone(), keys)),
                Err(error) => {
                    tracing::warn!(
                        container = container.id,
                        error = error.with_causes(),
                        "could not read its host keys"
                    );
                }
            }
        }
    }

    /// A container that was as wanted and isn't any more has stopped by itself: that is last_reported before it is mended.
    fn report_unexpected_change(&self, wanted: &Assignment, actual: &[Container], last_reported: Option<&LastReport>) {
        let Some(LastReport { placement, generation, news: ReportKind::InstanceStatus(before) }) = last_reported else {
            return;
        };
        if (*placement, *generation) != (wanted.placement, wanted.generation) {
            return;
        }
        if let Some(container) = actual.iter().find(|container| container.id == before.container_id) {
            let now = container.observation();
            if now.phase != before.phase {
                self.enqueue_report(wanted, ReportKind::InstanceStatus(now));
                self.clear_last_reported(wanted.instance_id);
            }
        }
    }

    /// The next report is news even if it equals the one before, because another was last_reported between them. From here on
    /// the container's restarts are paced like failures.
    fn clear_last_reported(&self, instance: InstanceId) {
        if let Some(entry) = self.0.entries().get_mut(&instance) {
            let (first, longest) = self.0.config.retry_backoff;
            entry.last_reported = None;
            entry.retry_at = Some(Instant::now() + first.saturating_mul(1 << entry.failures.min(16)).min(longest));
            entry.failures += 1;
        }
    }

    /// One act on the runtime, not too many at a time.
    pub(super) async fn with_permit<T>(
        &self,
        operation: impl Future<Output = Result<T, RuntimeError>>,
    ) -> Result<T, RuntimeError> {
        // The semaphore is never closed; if it were, acting unbounded beats not acting.
        let _permit = self.0.operations.acquire().await.ok();
        operation.await
    }
}

pub(super) fn failed(code: &str, message: String) -> Outcome {
    Outcome::Failed(AgentError { code: code.to_owned(), message })
}

fn ignore_not_found(result: Result<(), RuntimeError>) -> Result<(), RuntimeError> {
    match result {
        Err(RuntimeError::NotFound) => Ok(()),
        other => other,
    }
}
