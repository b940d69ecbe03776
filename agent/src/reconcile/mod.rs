//! Brings the containers to the assignments' desired state.
//!
//! In: assignments, and a periodic resync against the runtime's list. Out: runtime operations, and reports in the outbox.
//! Each instance has at most one worker, so operations on one instance never overlap; workers of different instances run
//! concurrently, within a limit. A worker lists, decides with [`crate::step`], executes and lists again, always for the
//! newest assignment. All state here can be lost: it only prevents repeated reports and paces retries.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dockhost_domain::ids::InstanceId;
use dockhost_domain::room::Resources;
use dockhost_domain::wire::{Assignment, Report, ReportKind};
use dockhost_telemetry::trace;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::capacity::Capacity;
use crate::confirm::Confirmer;
use crate::container::Container;
use crate::engine_probe;
use crate::images::Images;
use crate::machine_status::SharedStatus;
use crate::reports::Outbox;
use crate::restart::{RestartLimits, Restarts};
use crate::runtime::{Runtime, RuntimeError};
use crate::ssh_watch::SharedSshWatch;
use crate::step::{Step, next_step};
use crate::upkeep;

mod ends;
mod entry;
mod launch;
mod worker;

use entry::{ContainerCache, InstanceEntry, LastReport};

/// Limits and intervals of the reconciler.
#[derive(Debug, Clone)]
pub struct ReconcileConfig {
    /// Interval between two resyncs.
    pub resync_interval: Duration,
    /// Maximum number of concurrent runtime operations.
    pub max_operations: usize,
    /// Time for the SSH server of a started container to answer.
    pub ssh_timeout: Duration,
    /// How long an instance waits for its image. Less than the server's time limit of a placement, so that the owner
    /// reads what it waited for.
    pub image_timeout: Duration,
    /// First and longest delay before the retry of a failed instance.
    pub retry_backoff: (Duration, Duration),
    /// Limits of the restarts of containers that end.
    pub restarts: RestartLimits,
}

impl Default for ReconcileConfig {
    fn default() -> Self {
        Self {
            resync_interval: Duration::from_secs(10),
            max_operations: 8,
            ssh_timeout: Duration::from_secs(30),
            image_timeout: Duration::from_secs(10),
            retry_backoff: (Duration::from_secs(5), Duration::from_secs(300)),
            restarts: RestartLimits::default(),
        }
    }
}

/// Brings the containers to the desired state; clones share all state.
pub struct Reconciler<R>(Arc<Inner<R>>);

impl<R> Clone for Reconciler<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<R> {
    runtime: Arc<R>,
    images: Images<R>,
    capacity: Arc<Capacity>,
    confirmer: Box<dyn Confirmer>,
    outbox: Outbox,
    /// Notified after each change, to send a heartbeat immediately.
    changed: Arc<Notify>,
    config: ReconcileConfig,
    operations: Semaphore,
    entries: Mutex<HashMap<InstanceId, InstanceEntry>>,
    workers: TaskTracker,
    stop: CancellationToken,
}

impl<R: Runtime> Reconciler<R> {
    /// A reconciler without assignments.
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
        let runtime = Arc::new(runtime);
        let images = Images::new(Arc::clone(&runtime), stop.clone());
        let operations = Semaphore::new(config.max_operations);
        let (confirmer, entries, workers) = (Box::new(confirmer), Mutex::default(), TaskTracker::new());
        Self(Arc::new(Inner {
            runtime,
            images,
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

    /// Triggers a heartbeat after a change of its content.
    pub fn notify_changed(&self) {
        self.0.changed.notify_one();
    }

    /// The images of the runtime.
    #[must_use]
    pub fn images(&self) -> &Images<R> {
        &self.0.images
    }

    /// Looks until shutdown who is connected to the containers.
    pub async fn watch_connections(&self, ssh: &SharedSshWatch) {
        ssh.run(&*self.0.runtime, &self.0.stop).await;
    }

    /// Checks until shutdown whether the container engine answers.
    pub async fn probe_engine(&self, status: &SharedStatus) {
        engine_probe::run_probe(&*self.0.runtime, status, &self.0.stop).await;
    }

    /// Until shutdown, keeps this machine able to run instances, and tells the states of the image and of the isolation
    /// rules.
    pub async fn keep_machine(&self, status: &SharedStatus) {
        let Inner { runtime, stop, images, .. } = &*self.0;
        tokio::join!(
            images.keep_default(status),
            upkeep::keep_isolation(&**runtime, status, stop),
            upkeep::keep_removing_leftovers(&**runtime, stop),
        );
    }

    /// Accepts an assignment. It ignores one that is older than the current one, and one that equals the current one and
    /// was reported on, so that a reconnect does not repeat every report. What it causes belongs to the trace of the task.
    pub fn assign(&self, assignment: Assignment) {
        let instance = assignment.instance_id;
        let mut entries = self.0.entries();
        let entry = entries.entry(instance).or_default();
        if let Some(current) = &entry.assignment {
            if is_older(&assignment, current) {
                tracing::debug!(%instance, "ignoring an assignment older than the current one");
                return;
            }
            if *current == assignment && entry.last_reported.is_some() {
                return;
            }
        }
        tracing::info!(%instance, placement = assignment.placement, generation = assignment.generation,
            desired = ?assignment.desired, "received an assignment");
        self.0.runtime.assigned(&assignment);
        let is_same = |current: &Assignment| {
            (current.placement, current.generation) == (assignment.placement, assignment.generation)
        };
        if !entry.assignment.as_ref().is_some_and(is_same) {
            entry.restarts = Restarts::default();
        }
        (entry.assignment, entry.trace) = (Some(assignment), trace::current());
        entry.reset_backoff();
        self.schedule(instance, entry);
    }

    /// Forgets all assignments and drops all reports, because another agent holds the backend. An operation of the
    /// runtime that is under way ends; no further one begins.
    pub fn suspend(&self) {
        self.0.outbox.suspend();
        let mut entries = self.0.entries();
        entries.retain(|_, entry| entry.has_worker);
        for entry in entries.values_mut() {
            (entry.assignment, entry.last_reported, entry.dirty) = (None, None, true);
        }
    }

    /// Reports again; the assignments follow.
    pub fn resume(&self) {
        self.0.outbox.resume();
    }

    /// Reports on each assignment again, also if nothing has changed: the reports so far may be lost.
    pub fn report_again(&self) {
        for (instance, entry) in self.0.entries().iter_mut().filter(|(_, entry)| entry.assignment.is_some()) {
            entry.last_reported = None;
            self.schedule(*instance, entry);
        }
    }

    /// Reports each instance that has a container but no assignment; call it when all assignments have been received.
    /// The server answers with an assignment. Until then the container stays.
    ///
    /// # Errors
    /// If the runtime can't list its containers.
    pub async fn report_unassigned(&self) -> Result<(), RuntimeError> {
        let listed = self.0.runtime.list(None).await?;
        let entries = self.0.entries();
        let mut unassigned: HashMap<InstanceId, &Container> = HashMap::new();
        for container in &listed {
            if entries.get(&container.instance).is_none_or(|entry| entry.assignment.is_none()) {
                let latest = unassigned.entry(container.instance).or_insert(container);
                if container.placement > latest.placement {
                    *latest = container;
                }
            }
        }
        for container in unassigned.into_values() {
            tracing::warn!(instance = %container.instance, placement = container.placement,
                "reporting a container without an assignment");
            self.0.outbox.put(Report {
                instance_id: container.instance,
                user_id: container.user,
                placement: container.placement,
                // Generations begin at 1, so this report completes no operation.
                generation: 0,
                kind: ReportKind::InstanceStatus(container.observation()),
            });
        }
        Ok(())
    }

    /// Resyncs now and at each interval until shutdown; then waits for the workers. The containers are left as they are.
    pub async fn run(&self) {
        let mut ticks = tokio::time::interval(self.0.config.resync_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let resync = async {
            loop {
                ticks.tick().await;
                if let Err(error) = self.resync().await {
                    tracing::warn!(error = error.with_causes(), "resync failed");
                }
            }
        };
        tokio::select! {
            () = self.0.stop.cancelled() => {}
            () = resync => {}
        }
        self.0.workers.close();
        self.0.workers.wait().await;
    }

    /// Compares all assignments with the runtime's list and schedules a worker for each difference.
    ///
    /// # Errors
    /// If the runtime can't list its containers.
    pub async fn resync(&self) -> Result<(), RuntimeError> {
        let listed = self.0.runtime.list(None).await?;
        let mut actual: HashMap<InstanceId, Vec<Container>> = HashMap::new();
        for container in listed {
            actual.entry(container.instance).or_default().push(container);
        }
        let now = Instant::now();
        let mut entries = self.0.entries();
        // A container may have been created since the list.
        let created =
            entries.iter().filter(|(instance, entry)| entry.has_container() && !actual.contains_key(instance));
        let created = created.map(|(instance, entry)| (*instance, resources(entry.assignment.as_ref(), &[])));
        let counted = actual.iter().map(|(instance, containers)| {
            let entry = entries.get(instance);
            (*instance, resources(entry.and_then(|entry| entry.assignment.as_ref()), containers))
        });
        let busy = entries.iter().filter(|(_, entry)| entry.has_worker).map(|(instance, _)| *instance).collect();
        self.0.capacity.replace_all(counted.chain(created), &busy);
        for (instance, entry) in entries.iter_mut().filter(|(_, entry)| !entry.has_worker) {
            let Some(assignment) = &entry.assignment else { continue };
            let mut containers = actual.remove(instance).unwrap_or_default();
            entry.cache.apply_to(&mut containers);
            entry.was_engine_gone &= !containers.iter().any(|container| container.state.is_alive());
            let last = entry.last_reported.as_ref();
            let capacity = self.0.capacity.status_for(*instance, resources(Some(assignment), &containers));
            let up_to_date = match next_step(assignment, &containers, capacity) {
                Step::Ignore => true,
                Step::Report(kind) => last.is_some_and(|last| last.matches(assignment, &kind)),
                _ => last.is_some_and(|last| last.is_refusal_of(assignment)),
            };
            if up_to_date {
                // After a long time without failures, the next one starts the backoff from the beginning.
                if entry.retry_at.is_some_and(|at| at + self.0.config.retry_backoff.1 < now) {
                    entry.reset_backoff();
                }
            } else if entry.retry_at.is_none_or(|at| at <= now) {
                self.schedule(*instance, entry);
            }
        }
        Ok(())
    }

    /// Marks the entry as changed and starts a worker if none runs.
    fn schedule(&self, instance: InstanceId, entry: &mut InstanceEntry) {
        entry.dirty = true;
        self.ensure_worker(instance, entry);
    }

    /// Starts a worker if none runs.
    fn ensure_worker(&self, instance: InstanceId, entry: &mut InstanceEntry) {
        if !entry.has_worker && !self.0.stop.is_cancelled() {
            entry.has_worker = true;
            let reconciler = self.clone();
            self.0.workers.spawn(async move { reconciler.run_worker(instance).await });
        }
    }
}

/// What an instance may use: what its container was created with, or else what its assignment says.
fn resources(assignment: Option<&Assignment>, containers: &[Container]) -> Resources {
    let created = containers.iter().find_map(|container| container.limits);
    let assigned = || Some(assignment?.container.as_ref()?.limits);
    created.or_else(assigned).map(Resources::from).unwrap_or_default()
}

/// Whether an assignment is older than another one of its instance.
fn is_older(one: &Assignment, other: &Assignment) -> bool {
    let keys = |assignment: &Assignment| assignment.container.as_ref().map(|spec| spec.keys().0);
    match (one.placement, one.generation).cmp(&(other.placement, other.generation)) {
        Ordering::Equal => keys(one).zip(keys(other)).is_some_and(|(one, other)| one < other),
        ordering => ordering.is_lt(),
    }
}

impl<R> Inner<R> {
    fn entries(&self) -> MutexGuard<'_, HashMap<InstanceId, InstanceEntry>> {
        // Every change under this lock is complete, so a poisoned lock is safe to use.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
