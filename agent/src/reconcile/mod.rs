//! Makes what runs equal to what is wanted, instance by instance.
//!
//! In: assignments as they arrive, and a slow tick that compares everything with what the runtime lists. Out: acts on
//! the runtime, and reports in the outbox. Each instance has at most one worker at a time, so acts of one instance
//! never overlap; different instances go side by side, bounded at the runtime. A worker holds no state that matters: it
//! looks, decides with [`crate::step`], acts, and looks again, always towards the newest assignment.
//!
//! What the agent remembers is only for politeness: what it last_reported last, so as not to repeat itself, and when to try
//! again after a failure, so as not to spin. Before it makes a container it has the server enqueue_report that this is still
//! wanted.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dockhost_domain::ids::InstanceId;
use dockhost_domain::wire::{Assignment, Report, ReportKind};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::capacity::Capacity;
use crate::confirm::Confirmer;
use crate::container::Container;
use crate::reports::Outbox;
use crate::runtime::{Runtime, RuntimeError};
use crate::step::{Step, next_step};

mod launch;
mod worker;

/// How patient the reconciler is.
#[derive(Debug, Clone)]
pub struct ReconcileConfig {
    /// How often everything is compared.
    pub resync_interval: Duration,
    /// Acts on the runtime at the same time.
    pub max_operations: usize,
    /// How long a started container may take until its SSH server answers.
    pub ssh_timeout: Duration,
    /// The first and the longest pause after a failure.
    pub retry_backoff: (Duration, Duration),
}

impl Default for ReconcileConfig {
    fn default() -> Self {
        Self {
            resync_interval: Duration::from_secs(10),
            max_operations: 8,
            ssh_timeout: Duration::from_secs(30),
            retry_backoff: (Duration::from_secs(5), Duration::from_secs(300)),
        }
    }
}

/// Makes what runs equal to what is wanted; clones share everything.
pub struct Reconciler<R>(Arc<Inner<R>>);

impl<R> Clone for Reconciler<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<R> {
    runtime: R,
    capacity: Arc<Capacity>,
    confirmer: Box<dyn Confirmer>,
    outbox: Outbox,
    /// Told after each change, so that the next heartbeat needn't wait.
    changed: Arc<Notify>,
    config: ReconcileConfig,
    operations: Semaphore,
    entries: Mutex<HashMap<InstanceId, InstanceEntry>>,
    workers: TaskTracker,
    stop: CancellationToken,
}

/// What the agent knows of one instance.
#[derive(Debug, Default)]
struct InstanceEntry {
    assignment: Option<Assignment>,
    /// A worker is at it.
    has_worker: bool,
    /// There is (more) to do.
    dirty: bool,
    /// What was last_reported last.
    last_reported: Option<LastReport>,
    /// Failures in a row, and when to try again.
    failures: u32,
    retry_at: Option<Instant>,
    cache: ContainerCache,
}

/// What was last_reported last, and about what.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LastReport {
    placement: u32,
    generation: u32,
    news: ReportKind,
}

/// What was learned of a container and isn't listed by the runtime.
#[derive(Debug, Clone, Default)]
struct ContainerCache {
    /// The container whose SSH server has answered since it was started.
    ssh_ready: Option<String>,
    /// A container's host keys.
    host_keys: Option<(String, Vec<String>)>,
}

impl<R: Runtime> Reconciler<R> {
    /// A reconciler with no assignments yet.
    #[must_use]
    pub fn new(
        runtime: R,
        capacity: Arc<Capacity>,
        confirmer: impl Confirmer,
        outbox: Outbox,
        changed: Arc<Notify>,
        config: ReconcileConfig,
        stop: CancellationToken,
    ) -> Self {
        let operations = Semaphore::new(config.max_operations);
        let (confirmer, entries, workers) = (Box::new(confirmer), Mutex::default(), TaskTracker::new());
        Self(Arc::new(Inner {
            runtime,
            capacity,
            confirmer,
            outbox,
            changed,
            config,
            operations,
            entries,
            workers,
            stop,
        }))
    }

    /// The kind of the runtime.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.0.runtime.kind()
    }

    /// Something changed that the next heartbeat should enqueue_report.
    pub fn notify_changed(&self) {
        self.0.changed.notify_one();
    }

    /// Gets the image that most instances want before the first one is asked for, whose deadline is short.
    pub async fn prefetch_image(&self) {
        tokio::select! {
            fetched = self.0.runtime.ensure_image(None) => {
                if let Err(error) = fetched {
                    tracing::warn!(error = error.with_causes(), "no image for instances; each that needs it will try again");
                }
            }
            () = self.0.stop.cancelled() => {}
        }
    }

    /// Takes in an assignment. One that is older than the one held is ignored; one that is held already and was
    /// answered is left to the tick, so that a reconnect doesn't repeat every report.
    pub fn assign(&self, assignment: Assignment) {
        let instance = assignment.instance_id;
        let mut entries = self.0.entries();
        let entry = entries.entry(instance).or_default();
        if let Some(held) = &entry.assignment {
            if (assignment.placement, assignment.generation) < (held.placement, held.generation) {
                tracing::debug!(%instance, "ignoring an assignment older than the one held");
                return;
            }
            if *held == assignment && entry.last_reported.is_some() {
                return;
            }
        }
        tracing::info!(%instance, placement = assignment.placement, generation = assignment.generation,
            wanted = ?assignment.desired, "assigned");
        entry.assignment = Some(assignment);
        (entry.failures, entry.retry_at) = (0, None);
        self.schedule(instance, entry);
    }

    /// All assignments have been seen: containers that none of them is about are reported, and stay. The server
    /// answers with an assignment that says what is to become of them.
    ///
    /// # Errors
    /// When the runtime can't list its containers.
    pub async fn report_unassigned(&self) -> Result<(), RuntimeError> {
        let listed = self.0.runtime.list(None).await?;
        let entries = self.0.entries();
        let mut unknown: HashMap<InstanceId, &Container> = HashMap::new();
        for container in &listed {
            if entries.get(&container.instance).is_none_or(|entry| entry.assignment.is_none()) {
                let latest = unknown.entry(container.instance).or_insert(container);
                if container.placement > latest.placement {
                    *latest = container;
                }
            }
        }
        for container in unknown.into_values() {
            tracing::warn!(instance = %container.instance, placement = container.placement,
                "reporting a container that no assignment is about");
            self.0.outbox.put(Report {
                instance_id: container.instance,
                user_id: container.user,
                placement: container.placement,
                // Generations begin_run at 1: this one completes nothing.
                generation: 0,
                kind: ReportKind::InstanceStatus(container.observation()),
            });
        }
        Ok(())
    }

    /// Compares everything with what the runtime lists, now and at each tick, until told to stop; then waits for the
    /// workers. Containers are left as they are.
    pub async fn run(&self) {
        let mut ticks = tokio::time::interval(self.0.config.resync_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.stop.cancelled() => break,
                _ = ticks.tick() => {
                    if let Err(error) = self.resync().await {
                        tracing::warn!(error = error.with_causes(), "the runtime doesn't answer");
                    }
                }
            }
        }
        self.0.workers.close();
        self.0.workers.wait().await;
    }

    /// Compares everything with what the runtime lists, and wakes whoever has something to do.
    ///
    /// # Errors
    /// When the runtime can't list its containers.
    pub async fn resync(&self) -> Result<(), RuntimeError> {
        let listed = self.0.runtime.list(None).await?;
        let mut actual: HashMap<InstanceId, Vec<Container>> = HashMap::new();
        for container in listed {
            actual.entry(container.instance).or_default().push(container);
        }
        let now = Instant::now();
        let mut entries = self.0.entries();
        let unlisted_in_use: HashSet<InstanceId> = entries
            .iter()
            .filter(|(_, entry)| entry.has_worker || entry.has_container())
            .map(|(instance, _)| *instance)
            .collect();
        self.0.capacity.replace_all(actual.keys().copied().chain(unlisted_in_use));
        for (instance, entry) in entries.iter_mut().filter(|(_, entry)| !entry.has_worker) {
            let Some(assignment) = &entry.assignment else { continue };
            let mut containers = actual.remove(instance).unwrap_or_default();
            entry.cache.apply_to(&mut containers);
            let up_to_date = match next_step(assignment, &containers, self.0.capacity.status_for(*instance)) {
                Step::Ignore => true,
                Step::Report(news) => {
                    entry.last_reported.as_ref().is_some_and(|last_reported| last_reported.matches(assignment, &news))
                }
                _ => entry.last_reported.as_ref().is_some_and(|last_reported| last_reported.is_refusal_of(assignment)),
            };
            if up_to_date {
                // Well for long: the next failure is a first one.
                if entry.retry_at.is_some_and(|at| at + self.0.config.retry_backoff.1 < now) {
                    (entry.failures, entry.retry_at) = (0, None);
                }
            } else if entry.retry_at.is_none_or(|at| at <= now) {
                self.schedule(*instance, entry);
            }
        }
        Ok(())
    }

    /// Sees to it that a worker looks at this instance (again).
    fn schedule(&self, instance: InstanceId, entry: &mut InstanceEntry) {
        entry.dirty = true;
        if !entry.has_worker && !self.0.stop.is_cancelled() {
            entry.has_worker = true;
            let reconciler = self.clone();
            self.0.workers.spawn(async move { reconciler.run_worker(instance).await });
        }
    }
}

impl<R> Inner<R> {
    fn entries(&self) -> MutexGuard<'_, HashMap<InstanceId, InstanceEntry>> {
        // Nothing under this lock awaits or is half done when it panics.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InstanceEntry {
    fn has_container(&self) -> bool {
        let last_reported = self.last_reported.as_ref();
        last_reported.is_some_and(|last_reported| {
            matches!(last_reported.news, ReportKind::InstanceStatus(_) | ReportKind::InstanceCreated(_))
        })
    }
}

impl LastReport {
    fn matches(&self, assignment: &Assignment, news: &ReportKind) -> bool {
        (self.placement, self.generation) == (assignment.placement, assignment.generation) && self.news == *news
    }

    /// Whether this was the agent's last word on that assignment: after a refusal the server may have placed the
    /// instance elsewhere, so making a container later would make a second one.
    fn is_refusal_of(&self, assignment: &Assignment) -> bool {
        (self.placement, self.generation) == (assignment.placement, assignment.generation)
            && matches!(self.news, ReportKind::InstanceRefused(_))
    }
}

impl ContainerCache {
    /// Completes what the runtime listed.
    fn apply_to(&self, containers: &mut [Container]) {
        use crate::container::ContainerState;
        for container in containers {
            if container.state == ContainerState::Starting && self.ssh_ready.as_ref() == Some(&container.id) {
                container.state = ContainerState::Running;
            }
            if let Some((id, keys)) = &self.host_keys
                && *id == container.id
            {
                container.host_keys.clone_from(keys);
            }
        }
    }
}

#[cfg(test)]
mod tests;
