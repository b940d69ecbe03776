//! What happens behind the agent's back: a container that should run has ended.
//!
//! The engine tells of ends by its events; the resync finds those that were missed. An end is reported with its cause, and
//! [`crate::restart`] decides what follows.

use std::time::Duration;

use dockhost_domain::ids::InstanceId;
use dockhost_domain::wire::{Assignment, ContainerEnd, ContainerSpec, DesiredState, Phase, ReportKind, RestartPolicy};
use tokio::time::Instant;

use super::worker::{Attempts, Outcome};
use super::{ContainerCache, InstanceEntry, LastReport, Reconciler};
use crate::container::{Container, ContainerState};
use crate::restart::Verdict;
use crate::runtime::{Runtime, RuntimeError};

/// Delay before the engine's events are followed again after they ended.
const WATCH_RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Delays of the looks at a container after an event. Docker sends the event before its list shows the container as ended.
const EVENT_DELAYS: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];

/// What is known about an instance when its container is found ended.
struct Known {
    verdict: Option<Verdict>,
    is_first_look: bool,
    has_ended_before: bool,
    has_run: bool,
    was_engine_gone: bool,
}

impl<R: Runtime> Reconciler<R> {
    /// Follows the engine's events until shutdown. If they end, the engine has restarted or is down: compares everything
    /// as soon as it answers again.
    pub async fn watch_engine(&self) {
        let follow = async {
            let mut was_engine_gone = false;
            loop {
                match self.follow_events(was_engine_gone).await {
                    Ok(()) => tracing::warn!("the container engine's events ended; following them again"),
                    Err(error) => {
                        tracing::debug!(error = error.with_causes(), "could not follow the container engine's events");
                    }
                }
                was_engine_gone = true;
                tokio::time::sleep(WATCH_RETRY_INTERVAL).await;
            }
        };
        tokio::select! {
            () = follow => {}
            () = self.0.stop.cancelled() => {}
        }
    }

    /// Follows the engine's events until they end.
    async fn follow_events(&self, was_engine_gone: bool) -> Result<(), RuntimeError> {
        // What happens from here on is either in the list or among the events.
        let since = self.0.runtime.engine_time().await?;
        if was_engine_gone {
            self.catch_up().await?;
        }
        let look = |instance| EVENT_DELAYS.iter().for_each(|delay| self.check_at(instance, Instant::now() + *delay));
        self.0.runtime.watch(since, &look).await
    }

    /// Compares everything after the engine was gone.
    async fn catch_up(&self) -> Result<(), RuntimeError> {
        for entry in self.0.entries().values_mut() {
            entry.was_engine_gone = true;
            entry.reset_backoff();
        }
        tracing::info!("the container engine answers again; comparing all containers");
        self.resync().await
    }

    /// Looks at an instance's container, which may have ended or be gone. Unlike a new assignment, this does not interrupt
    /// what is under way for it.
    pub fn check(&self, instance: InstanceId) {
        let mut entries = self.0.entries();
        if let Some(entry) = entries.get_mut(&instance).filter(|entry| entry.assignment.is_some()) {
            entry.must_check = true;
            self.ensure_worker(instance, entry);
        }
    }

    /// Whether the assignment's container ended although it should run, and what follows. `None`: nothing is in the way of
    /// the next step.
    pub(super) async fn judge_end(
        &self,
        assignment: &Assignment,
        actual: &[Container],
        cache: &mut ContainerCache,
        attempts: &Attempts,
    ) -> Result<Option<Outcome>, RuntimeError> {
        let instance = assignment.instance_id;
        let Some((spec, container)) = ended_container(assignment, actual) else {
            self.with_entry(instance, |entry| {
                entry.is_looked_at = true;
                if actual.iter().any(|container| container.state.is_alive()) {
                    entry.was_engine_gone = false;
                    entry.restarts.clear_verdict();
                }
            });
            return Ok(None);
        };
        let Some(known) = self.with_entry(instance, |entry| Known {
            verdict: entry.restarts.verdict().cloned(),
            is_first_look: !std::mem::replace(&mut entry.is_looked_at, true),
            has_ended_before: entry.restarts.has_ended(),
            has_run: entry.ran_in == Some((assignment.placement, assignment.generation)),
            was_engine_gone: entry.was_engine_gone,
        }) else {
            return Ok(None);
        };
        match known.verdict {
            Some(Verdict::StartAt(at)) if Instant::now() < at => return Ok(Some(Outcome::NoReport)),
            Some(Verdict::StartAt(_)) => {
                self.with_entry(instance, |entry| entry.restarts.clear_verdict());
                return Ok(None);
            }
            Some(Verdict::Keep(error)) => return Ok(Some(Outcome::Report(ReportKind::InstanceFailed(error)))),
            None => {}
        }
        let never = spec.restart == RestartPolicy::Never;
        let has_ended = known.has_run
            // It was started in this run, and ended before its SSH server answered.
            || (attempts.has_started && (never || known.has_ended_before))
            || (never && spec.has_run);
        // It may have ended while no agent ran; or it is to be resumed, which the server knows.
        let may_have_ended = known.is_first_look && !never && spec.container_id.is_some();
        if !has_ended && !may_have_ended {
            return Ok(None);
        }
        let cause = self.cause_of_end(container, known.was_engine_gone).await?;
        if has_ended {
            return Ok(Some(self.record_end(assignment, spec, container, cache, cause)));
        }
        let at = self.with_entry(instance, |entry| entry.restarts.defer(&self.0.config.restarts, Instant::now()));
        self.report_end(assignment, container, cause);
        self.check_at(instance, at.unwrap_or_else(Instant::now));
        Ok(Some(Outcome::NoReport))
    }

    /// Reports the end unless it is final, which is reported as a failure.
    fn record_end(
        &self,
        assignment: &Assignment,
        spec: &ContainerSpec,
        container: &Container,
        cache: &mut ContainerCache,
        cause: ContainerEnd,
    ) -> Outcome {
        let (instance, now) = (assignment.instance_id, Instant::now());
        cache.ssh_ready = None;
        let verdict = self.with_entry(instance, |entry| {
            entry.was_engine_gone = false;
            (entry.last_reported, entry.ran_in) = (None, None);
            entry.restarts.record(cause, spec.restart, &self.0.config.restarts, now)
        });
        tracing::warn!(%instance, container = %container.id, ?cause, ?verdict, "the container ended");
        match verdict {
            Some(Verdict::Keep(error)) => Outcome::Report(ReportKind::InstanceFailed(error)),
            Some(Verdict::StartAt(at)) => {
                self.report_end(assignment, container, cause);
                self.check_at(instance, at);
                Outcome::NoReport
            }
            None => Outcome::NoReport,
        }
    }

    fn check_at(&self, instance: InstanceId, at: Instant) {
        let (reconciler, stop) = (self.clone(), self.0.stop.clone());
        self.0.workers.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep_until(at) => reconciler.check(instance),
                () = stop.cancelled() => {}
            }
        });
    }

    fn report_end(&self, assignment: &Assignment, container: &Container, cause: ContainerEnd) {
        let mut observation = container.observation();
        observation.ended = Some(cause);
        self.enqueue_report(assignment, ReportKind::InstanceStatus(observation));
    }

    async fn cause_of_end(&self, container: &Container, was_engine_gone: bool) -> Result<ContainerEnd, RuntimeError> {
        let cause = self.with_permit(self.0.runtime.end(&container.id)).await?;
        // The kernel ends a container that needs too much memory, whatever the engine does.
        Ok(if was_engine_gone && cause != ContainerEnd::OutOfMemory { ContainerEnd::EngineRestarted } else { cause })
    }

    fn with_entry<T>(&self, instance: InstanceId, change: impl FnOnce(&mut InstanceEntry) -> T) -> Option<T> {
        self.0.entries().get_mut(&instance).map(change)
    }
}

/// The container of an assignment that should run, has run before and does not run now.
fn ended_container<'a>(
    assignment: &'a Assignment,
    actual: &'a [Container],
) -> Option<(&'a ContainerSpec, &'a Container)> {
    let spec = assignment.container.as_ref().filter(|_| assignment.desired == DesiredState::Running)?;
    let ended = |container: &&Container| {
        container.placement == assignment.placement
            && container.state == ContainerState::Stopped
            && spec.container_id.as_deref().is_none_or(|id| container.has_id(id))
    };
    Some((spec, actual.iter().find(ended)?))
}

impl LastReport {
    /// Whether it said that the container runs.
    pub(super) fn says_running(&self) -> bool {
        matches!(&self.kind, ReportKind::InstanceStatus(seen) if seen.phase == Phase::Running)
    }
}
