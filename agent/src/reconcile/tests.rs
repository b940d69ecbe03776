//! From assignments to reports, with an in-memory runtime.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dockhost_domain::ids::UserId;
use dockhost_domain::reported::{ContainerId, HostKeys, ShortText};
use dockhost_domain::trace::{SpanId, TraceId, TraceParent};
use dockhost_domain::wire::{
    AuthorizedKeys, ContainerEnd, ContainerSpec, DesiredState, EngineState, ImageState, Limits, Phase, Ports,
    RestartPolicy,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use tracing::Span;
use uuid::Uuid;

use super::*;
use crate::connect::RequestError;
use crate::container::ContainerState;
use crate::reports::{PublishError, ReportSink};
use crate::runtime::FetchProgress;

/// A runtime in memory; each queued failure makes one creation or start fail.
#[derive(Default)]
struct Fake {
    containers: Mutex<Vec<Container>>,
    failures: Mutex<VecDeque<RuntimeError>>,
    created: AtomicUsize,
    /// Whether the next creation fails although it creates the container.
    creation_unanswered: AtomicBool,
    ssh_silent: bool,
    engine_down: AtomicBool,
    engine_hangs: AtomicBool,
    /// The keys that replaced others, by container.
    authorized: Mutex<Vec<(ContainerId, Vec<String>)>>,
    /// Fetches of an image; each ends when `image_arrives` has a permit, or fails at once without it.
    fetches: AtomicUsize,
    /// How ended containers ended.
    end: Mutex<Option<ContainerEnd>>,
    /// What the engine's events say, until the engine restarts.
    events: Mutex<Vec<InstanceId>>,
    has_events: Notify,
    engine_restarts: Notify,
    image_arrives: Option<Semaphore>,
}

/// The fingerprint of a container's host key.
fn host_key(id: &str) -> String {
    format!("SHA256:{id:0>43}").replace('-', "/")
}

impl Fake {
    fn fail(&self) -> Result<(), RuntimeError> {
        self.failures.lock().unwrap().pop_front().map_or(Ok(()), Err)
    }

    /// The container of this instance ends, and the engine says so.
    fn end_container(&self, n: u128, end: ContainerEnd) {
        self.end_silently(n, end);
        self.events.lock().unwrap().push(instance(n));
        self.has_events.notify_one();
    }

    fn end_silently(&self, n: u128, end: ContainerEnd) {
        *self.end.lock().unwrap() = Some(end);
        let mut containers = self.containers.lock().unwrap();
        containers.iter_mut().filter(|c| c.instance == instance(n)).for_each(|c| c.state = ContainerState::Stopped);
    }

    fn set(&self, id: &ContainerId, state: ContainerState) -> Result<(), RuntimeError> {
        let mut containers = self.containers.lock().unwrap();
        let container = containers.iter_mut().find(|container| container.id == *id).ok_or(RuntimeError::NotFound)?;
        container.state = state;
        Ok(())
    }
}

impl Runtime for Arc<Fake> {
    fn kind(&self) -> &'static str {
        "fake"
    }

    async fn list(&self, of: Option<InstanceId>) -> Result<Vec<Container>, RuntimeError> {
        let containers = self.containers.lock().unwrap();
        Ok(containers.iter().filter(|c| of.is_none_or(|id| c.instance == id)).cloned().collect())
    }

    async fn probe(&self) -> Result<(), RuntimeError> {
        if self.engine_hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.engine_down.load(Ordering::Relaxed) { Err(transient()) } else { Ok(()) }
    }

    async fn ensure_image(
        &self,
        image: Option<&str>,
        progress: &(dyn Fn(FetchProgress) + Send + Sync),
    ) -> Result<(), RuntimeError> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let Some(arrives) = &self.image_arrives else {
            return Err(RuntimeError::ImageMissing(image.unwrap_or("default").to_owned()));
        };
        progress(FetchProgress { percent: Some(40), bytes: 4_000 });
        let _permit = arrives.acquire().await;
        Ok(())
    }

    async fn create(&self, assignment: &Assignment, _spec: &ContainerSpec) -> Result<(), RuntimeError> {
        self.fail()?;
        let created = self.created.fetch_add(1, Ordering::Relaxed) + 1;
        let mut containers = self.containers.lock().unwrap();
        if containers.iter().any(|c| (c.instance, c.placement) == (assignment.instance_id, assignment.placement)) {
            return Err(RuntimeError::AlreadyExists);
        }
        containers.push(Container {
            id: format!("c{created}").parse().unwrap(),
            former_ids: vec![],
            instance: assignment.instance_id,
            user: assignment.user_id,
            placement: assignment.placement,
            ports: Ports { ssh: 1, http: 2, https: 3 },
            state: ContainerState::Created,
            host_keys: HostKeys::default(),
            limits: assignment.container.as_ref().map(|spec| spec.limits),
            keys_version: None,
        });
        if self.creation_unanswered.swap(false, Ordering::Relaxed) { Err(transient()) } else { Ok(()) }
    }

    async fn start(&self, container: &Container, _spec: Option<&ContainerSpec>) -> Result<(), RuntimeError> {
        self.fail()?;
        self.set(&container.id, ContainerState::Starting)
    }

    async fn authorize(&self, container: &Container, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        self.fail()?;
        self.authorized.lock().unwrap().push((container.id.clone(), spec.keys().1.to_vec()));
        Ok(())
    }

    async fn is_ssh_ready(&self, _container: &Container) -> bool {
        !self.ssh_silent
    }

    async fn ssh_connections(&self) -> Result<BTreeMap<InstanceId, bool>, RuntimeError> {
        Ok(BTreeMap::new())
    }

    async fn host_keys(&self, container: &Container) -> Result<HostKeys, RuntimeError> {
        Ok(HostKeys::of([host_key(&container.id).as_str()]))
    }

    async fn recreate_with_new_ports(
        &self,
        container: &Container,
        _assignment: &Assignment,
    ) -> Result<(), RuntimeError> {
        let mut containers = self.containers.lock().unwrap();
        let stored = containers.iter_mut().find(|c| c.id == container.id).ok_or(RuntimeError::NotFound)?;
        stored
            .former_ids
            .push(std::mem::replace(&mut stored.id, format!("{}-moved", container.id).parse().unwrap()).to_string());
        stored.ports = Ports { ssh: 11, http: 12, https: 13 };
        Ok(())
    }

    async fn stop(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.set(id, ContainerState::Stopped)
    }

    async fn end(&self, _id: &ContainerId) -> Result<ContainerEnd, RuntimeError> {
        Ok(self.end.lock().unwrap().unwrap_or(ContainerEnd::Exited { exit_code: 0 }))
    }

    async fn engine_time(&self) -> Result<i64, RuntimeError> {
        Ok(0)
    }

    async fn watch(&self, _since: i64, changed: &(dyn Fn(InstanceId) + Send + Sync)) -> Result<(), RuntimeError> {
        loop {
            tokio::select! {
                () = self.engine_restarts.notified() => return Ok(()),
                () = self.has_events.notified() => self.events.lock().unwrap().drain(..).for_each(changed),
            }
        }
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.containers.lock().unwrap().retain(|container| container.id != *id);
        Ok(())
    }
}

/// Confirms every assignment unless `obsolete` or `unavailable` is set.
#[derive(Default, Clone)]
struct FakeConfirmer {
    obsolete: Arc<AtomicBool>,
    unavailable: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
}

impl Confirmer for FakeConfirmer {
    fn is_current<'a>(&'a self, _: &'a Assignment) -> BoxFuture<'a, Result<bool, RequestError>> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let unavailable = self.unavailable.load(Ordering::Relaxed);
        let current = !self.obsolete.load(Ordering::Relaxed);
        async move { if unavailable { Err(RequestError::NoAnswer("unavailable".to_owned())) } else { Ok(current) } }
            .boxed()
    }
}

/// Collects the reports, and the traces in which they are sent.
#[derive(Default, Clone)]
struct ReportCollector(Arc<Mutex<Vec<Report>>>, Arc<Notify>, Arc<Mutex<Vec<TraceId>>>);

impl ReportSink for ReportCollector {
    async fn send(&self, report: &Report, _message_id: &str) -> Result<(), PublishError> {
        self.2.lock().unwrap().push(trace::current().unwrap().trace_id);
        self.0.lock().unwrap().push(report.clone());
        self.1.notify_one();
        Ok(())
    }
}

impl ReportCollector {
    /// Waits for a report for which `passes` is true, and returns it.
    async fn report(&self, passes: impl Fn(&Report) -> bool) -> Report {
        let found = || self.0.lock().unwrap().iter().find(|report| passes(report)).cloned();
        let wait = async {
            loop {
                if let Some(report) = found() {
                    return report;
                }
                self.1.notified().await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(3600), wait).await {
            Ok(report) => report,
            Err(_) => panic!("expected report missing; received: {:#?}", self.0.lock().unwrap()),
        }
    }

    async fn running(&self) -> Report {
        self.report(|report| matches!(&report.kind, ReportKind::InstanceStatus(observation) if observation.phase == Phase::Running))
            .await
    }

    async fn stopped(&self) -> Report {
        self.report(|report| matches!(&report.kind, ReportKind::InstanceStatus(observation) if observation.phase == Phase::Stopped))
            .await
    }

    async fn failure(&self, code: &str) -> Report {
        self.report(
            |report| matches!(&report.kind, ReportKind::InstanceRefused(t) | ReportKind::InstanceFailed(t) if t.code.as_str() == code),
        )
        .await
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn last(&self) -> Report {
        self.0.lock().unwrap().last().cloned().unwrap()
    }

    fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

struct Fixture {
    fake: Arc<Fake>,
    reports: ReportCollector,
    confirmer: FakeConfirmer,
    reconciler: Reconciler<Arc<Fake>>,
}

/// A fixture with a limit of `max` containers and no retry delays. Time is paused, so sleeps end at once.
fn fixture(fake: Fake, max: u32) -> Fixture {
    fixture_on(Arc::new(fake), max)
}

fn fixture_on(fake: Arc<Fake>, max: u32) -> Fixture {
    let (reports, outbox, stop) = (ReportCollector::default(), Outbox::default(), CancellationToken::new());
    let (capacity, confirmer) = (Arc::new(Capacity::new(max, None)), FakeConfirmer::default());
    let reconciler = Reconciler::new(
        Arc::clone(&fake),
        capacity,
        confirmer.clone(),
        outbox.clone(),
        Arc::default(),
        ReconcileConfig {
            ssh_timeout: Duration::ZERO,
            retry_backoff: (Duration::ZERO, Duration::ZERO),
            ..ReconcileConfig::default()
        },
        stop.clone(),
    );
    let sink = reports.clone();
    tokio::spawn(async move { outbox.run(&sink, &stop).await });
    Fixture { fake, reports, confirmer, reconciler }
}

impl Fixture {
    /// Follows the engine's events.
    fn watch(&self) {
        let reconciler = self.reconciler.clone();
        tokio::spawn(async move { reconciler.watch_engine().await });
    }

    /// Another agent on the same engine, which has no memory of this one.
    fn restart(self) -> Self {
        fixture_on(self.fake, 10)
    }

    fn state(&self) -> ContainerState {
        self.fake.containers.lock().unwrap()[0].state
    }

    /// Waits until no worker runs and no report is queued.
    async fn wait_until_idle(&self) {
        let idle = async {
            while self.reconciler.0.entries().values().any(|entry| entry.has_worker)
                || !self.reconciler.0.outbox.is_empty()
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(3600), idle).await.is_ok(), "not idle");
    }
}

/// Waits until the condition holds.
async fn wait_until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(3600), wait).await.is_ok(), "the condition never holds");
}

fn instance(n: u128) -> InstanceId {
    InstanceId::from_uuid(Uuid::from_u128(n))
}

fn assignment(n: u128, generation: u32, desired: DesiredState) -> Assignment {
    Assignment {
        instance_id: instance(n),
        user_id: UserId::from_uuid(Uuid::from_u128(7)),
        placement: 1,
        generation,
        desired,
        container: (desired != DesiredState::Deleted).then(|| ContainerSpec {
            image: None,
            hostname: "box".to_owned(),
            ssh_public_key: String::new(),
            authorized_keys: None,
            limits: Limits { memory_mib: 1, cpu_millis: 1, pids: 1 },
            container_id: None,
            restart: RestartPolicy::default(),
            has_run: false,
        }),
    }
}

fn with_keys(mut assignment: Assignment, version: u32, key: &str) -> Assignment {
    if let Some(spec) = &mut assignment.container {
        spec.authorized_keys = Some(AuthorizedKeys { version, keys: vec![key.to_owned()] });
    }
    assignment
}

#[tokio::test(start_paused = true)]
async fn reconciler_changed_keys_replace_those_of_the_running_container_once() {
    let fixture = fixture(Fake::default(), 10);
    let running = assignment(1, 1, DesiredState::Running);
    fixture.reconciler.assign(running.clone());
    fixture.reports.running().await;
    fixture.wait_until_idle().await;
    let reports = fixture.reports.count();
    fixture.fake.failures.lock().unwrap().push_back(transient());
    fixture.reconciler.assign(with_keys(running.clone(), 2, "new"));
    wait_until(|| !fixture.fake.authorized.lock().unwrap().is_empty()).await;
    fixture.wait_until_idle().await;
    // A late delivery of an earlier one, and the same one again.
    fixture.reconciler.assign(with_keys(running.clone(), 1, "old"));
    fixture.reconciler.assign(running.clone());
    fixture.reconciler.assign(with_keys(running, 2, "new"));
    fixture.reconciler.resync().await.unwrap();
    fixture.wait_until_idle().await;
    let authorized = fixture.fake.authorized.lock().unwrap().clone();
    assert_eq!(authorized, [("c1".parse().unwrap(), vec!["new".to_owned()])]);
    let state = fixture.fake.containers.lock().unwrap()[0].state;
    assert_eq!((state, fixture.fake.created.load(Ordering::Relaxed)), (ContainerState::Starting, 1), "not restarted");
    assert_eq!(fixture.reports.count(), reports, "nothing to report has changed");
}

fn transient() -> RuntimeError {
    RuntimeError::Other { action: "could not run", source: anyhow::anyhow!("transient") }
}

#[tokio::test(start_paused = true)]
async fn reconciler_running_stopped_deleted_is_executed_and_reported() {
    let fixture = fixture(Fake::default(), 10);
    fixture.reconciler.assign(assignment(1, 1, DesiredState::Running));
    let running = fixture.reports.running().await;
    let ReportKind::InstanceStatus(observation) = &running.kind else { unreachable!() };
    assert_eq!((running.generation, &observation.host_keys), (1, &HostKeys::of([host_key("c1").as_str()])));

    fixture.reconciler.assign(assignment(1, 2, DesiredState::Stopped));
    let stopped = fixture.reports.report(|report| report.generation == 2).await;
    let ReportKind::InstanceStatus(observation) = &stopped.kind else { panic!("{stopped:?}") };
    assert_eq!((observation.phase, observation.host_keys.as_slice().len()), (Phase::Stopped, 1));

    fixture.reconciler.assign(assignment(1, 3, DesiredState::Deleted));
    assert_eq!(fixture.reports.report(|report| report.generation == 3).await.kind, ReportKind::InstanceDeleted);
    assert!(fixture.fake.containers.lock().unwrap().is_empty());
    fixture.wait_until_idle().await;
    assert!(fixture.reconciler.0.entries().is_empty(), "a deleted instance has no entry");
    assert_eq!(fixture.reconciler.0.capacity.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn reconciler_obsolete_assignment_creates_no_container() {
    let fixture = fixture(Fake::default(), 10);
    fixture.reconciler.assign(assignment(1, 1, DesiredState::Running));
    fixture.reports.running().await;
    fixture.reconciler.assign(assignment(1, 3, DesiredState::Deleted));
    fixture.reports.report(|report| report.kind == ReportKind::InstanceDeleted).await;
    fixture.wait_until_idle().await;
    // A broker node that is catching up may deliver obsolete assignments, and a restarted agent has no memory of them.
    fixture.confirmer.obsolete.store(true, Ordering::Relaxed);
    for (generation, desired) in [(1, DesiredState::Running), (2, DesiredState::Stopped), (3, DesiredState::Running)] {
        fixture.reconciler.assign(assignment(1, generation, desired));
        fixture.wait_until_idle().await;
    }
    assert_eq!(fixture.fake.created.load(Ordering::Relaxed), 1);
    assert!(fixture.reconciler.0.entries().is_empty(), "an obsolete assignment leaves no entry");
    let count = fixture.reports.count();
    fixture.reconciler.assign(assignment(1, 3, DesiredState::Deleted));
    fixture.wait_until_idle().await;
    assert_eq!(fixture.reports.count(), count + 1, "a repeated deletion is reported again");
    // A new placement gets a new container.
    fixture.confirmer.obsolete.store(false, Ordering::Relaxed);
    fixture.reconciler.assign(Assignment { placement: 2, ..assignment(1, 3, DesiredState::Running) });
    fixture.wait_until_idle().await;
    assert_eq!(fixture.fake.created.load(Ordering::Relaxed), 2);
}

/// A node of the broker that was replaced by an empty one delivers each assignment that an instance once had. Of them, the server
/// may not be told hundreds of times that the container is gone.
#[tokio::test(start_paused = true)]
async fn reconciler_delivered_the_past_of_a_deleted_instance_reports_nothing_and_asks_rarely() {
    let fixture = fixture(Fake::default(), 10);
    fixture.confirmer.obsolete.store(true, Ordering::Relaxed);
    for generation in 1..=100 {
        let desired = if generation % 2 == 0 { DesiredState::Stopped } else { DesiredState::Running };
        let mut past = assignment(1, generation, desired);
        past.container.as_mut().unwrap().container_id = (generation > 1).then(|| "c1".to_owned());
        fixture.reconciler.assign(past);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fixture.wait_until_idle().await;
    assert_eq!((fixture.reports.count(), fixture.fake.created.load(Ordering::Relaxed)), (0, 0));
    // For five seconds, once a second.
    let asked = fixture.confirmer.requests.load(Ordering::Relaxed);
    assert!(asked <= 7, "asked {asked} times");
    assert!(fixture.reconciler.0.entries().is_empty(), "an obsolete assignment leaves no entry");
    // What is current is reported.
    fixture.confirmer.obsolete.store(false, Ordering::Relaxed);
    let mut current = assignment(1, 101, DesiredState::Running);
    current.container.as_mut().unwrap().container_id = Some("c1".to_owned());
    fixture.reconciler.assign(current);
    fixture.reports.failure("container_gone").await;
}

#[tokio::test(start_paused = true)]
async fn reconciler_unconfirmed_assignment_creates_no_container() {
    let fixture = fixture(Fake::default(), 10);
    fixture.confirmer.unavailable.store(true, Ordering::Relaxed);
    fixture.reconciler.assign(assignment(1, 1, DesiredState::Running));
    fixture.reconciler.assign(assignment(2, 1, DesiredState::Running));
    wait_until(|| fixture.confirmer.requests.load(Ordering::Relaxed) >= 20).await;
    assert_eq!(
        (fixture.fake.created.load(Ordering::Relaxed), fixture.reports.count()),
        (0, 0),
        "waiting is not reported as a failure"
    );
    // A newer assignment ends the wait.
    fixture.reconciler.assign(assignment(2, 2, DesiredState::Deleted));
    fixture.reports.report(|report| report.kind == ReportKind::InstanceDeleted).await;
    fixture.confirmer.unavailable.store(false, Ordering::Relaxed);
    fixture.reports.running().await;
    fixture.wait_until_idle().await;
    assert_eq!(fixture.fake.created.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn reconciler_repeated_or_older_assignment_is_ignored() {
    let fixture = fixture(Fake::default(), 10);
    fixture.reconciler.assign(assignment(1, 2, DesiredState::Running));
    fixture.reports.running().await;
    fixture.wait_until_idle().await;
    let count = fixture.reports.count();
    for _ in 0..3 {
        fixture.reconciler.assign(assignment(1, 2, DesiredState::Running));
        fixture.reconciler.assign(assignment(1, 1, DesiredState::Deleted));
        fixture.reconciler.resync().await.unwrap();
    }
    fixture.wait_until_idle().await;
    assert_eq!((fixture.reports.count(), fixture.fake.created.load(Ordering::Relaxed)), (count, 1));
}

#[tokio::test(start_paused = true)]
async fn report_again_repeats_the_report_of_each_assignment_and_creates_nothing() {
    let fixture = fixture(Fake::default(), 10);
    fixture.reconciler.assign(assignment(1, 2, DesiredState::Running));
    let before = fixture.reports.running().await;
    fixture.wait_until_idle().await;
    let count = fixture.reports.count();
    fixture.reconciler.report_again();
    fixture.wait_until_idle().await;
    assert_eq!(fixture.reports.count(), count + 1);
    let last = fixture.reports.last();
    assert_eq!((last.placement, last.generation, last.kind), (before.placement, before.generation, before.kind));
    assert_eq!(fixture.fake.created.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn reconciler_concurrent_creations_never_exceed_the_limit() {
    let fixture = fixture(Fake::default(), 5);
    for n in 1..=40 {
        fixture.reconciler.assign(assignment(n, 1, DesiredState::Running));
    }
    fixture.wait_until_idle().await;
    fixture.reports.report(|report| matches!(report.kind, ReportKind::InstanceRefused(_))).await;
    assert_eq!(fixture.fake.containers.lock().unwrap().len(), 5);
    // A refusal is final even if a place becomes free, because the instance may be on another backend by then.
    let deleted = fixture.fake.containers.lock().unwrap()[0].instance;
    fixture.reconciler.assign(Assignment { instance_id: deleted, ..assignment(1, 2, DesiredState::Deleted) });
    fixture.wait_until_idle().await;
    fixture.reconciler.resync().await.unwrap();
    fixture.wait_until_idle().await;
    assert_eq!(fixture.fake.containers.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn resync_while_creations_await_confirmation_gives_them_no_place() {
    let fixture = fixture(Fake::default(), 1);
    fixture.confirmer.unavailable.store(true, Ordering::Relaxed);
    for n in 1..=3 {
        fixture.reconciler.assign(assignment(n, 1, DesiredState::Running));
    }
    wait_until(|| fixture.confirmer.requests.load(Ordering::Relaxed) >= 3).await;
    fixture.reconciler.resync().await.unwrap();
    assert_eq!(fixture.reconciler.0.capacity.used(), 0, "none has a place yet");
    fixture.confirmer.unavailable.store(false, Ordering::Relaxed);
    fixture.wait_until_idle().await;
    assert_eq!(fixture.fake.containers.lock().unwrap().len(), 1);
    let refused = |report: &&Report| matches!(report.kind, ReportKind::InstanceRefused(_));
    assert_eq!(fixture.reports.0.lock().unwrap().iter().filter(refused).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn reconciler_creation_of_unknown_outcome_keeps_its_place() {
    let fixture = fixture(Fake::default(), 1);
    fixture.fake.creation_unanswered.store(true, Ordering::Relaxed);
    fixture.reconciler.assign(assignment(1, 1, DesiredState::Running));
    wait_until(|| fixture.fake.created.load(Ordering::Relaxed) == 1).await;
    // The first one waits for its retry.
    fixture.reconciler.assign(assignment(2, 1, DesiredState::Running));
    assert_eq!(fixture.reports.failure("no_capacity").await.instance_id, instance(2));
    assert_eq!(fixture.reports.running().await.instance_id, instance(1));
    fixture.wait_until_idle().await;
    assert_eq!(fixture.fake.containers.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn reconciler_unexpectedly_stopped_container_is_reported_and_restarted() {
    let fixture = fixture(Fake::default(), 10);
    fixture.reconciler.assign(assignment(1, 1, DesiredState::Running));
    fixture.reports.running().await;
    fixture.wait_until_idle().await;
    fixture.reports.clear();
    fixture.fake.set(&"c1".parse().unwrap(), ContainerState::Stopped).unwrap();
    fixture.reconciler.resync().await.unwrap();
    fixture.reports.running().await;
    assert_eq!(fixture.fake.containers.lock().unwrap()[0].state, ContainerState::Starting);
}

#[tokio::test(start_paused = true)]
async fn reconciler_transient_error_is_retried_and_a_lasting_one_is_reported_once() {
    let fake = Fake::default();
    fake.failures.lock().unwrap().extend([transient(), transient()]);
    let fixture = fixture(fake, 10);
    fixture.reconciler.assign(assignment(1, 1, DesiredState::Running));
    fixture.reports.running().await;

    fixture.fake.failures.lock().unwrap().extend((0..6).map(|_| transient()));
    fixture.reconciler.assign(assignment(2, 1, DesiredState::Running));
    let failure = fixture.reports.failure("runtime_error").await;
    assert_eq!(failure.instance_id, instance(2));
    fixture.wait_until_idle().await;
    let count = fixture.reports.count();
    fixture.reconciler.resync().await.unwrap();
    fixture.wait_until_idle().await;
    assert_eq!(fixture.reports.count(), count, "the same error is not reported twice");
    fixture.reconciler.resync().await.unwrap();
    fixture.reports.report(|r| r.instance_id == instance(2) && matches!(r.kind, ReportKind::InstanceStatus(_))).await;
}

#[tokio::test(start_paused = true)]
async fn reconciler_impossible_creation_is_refused_with_its_code() {
    let range = "20000-20002".parse().unwrap();
    for (error, code) in
        [(RuntimeError::NoPorts(range), "no_ports"), (RuntimeError::ImageMissing("img".to_owned()), "image_missing")]
    {
        let fake = Fake::default();
        fake.failures.lock().unwrap().push_back(error);
        let fixture = fixture(fake, 10);
        fixture.reconciler.assign(assignment(1, 1, DesiredState::Running));
        assert!(matches!(fixture.reports.failure(code).await.kind, ReportKind::InstanceRefused(_)));
        fixture.wait_until_idle().await;
        assert_eq!(fixture.reconciler.0.capacity.used(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn reconciler_ports_in_use_recreates_the_container_with_its_files() {
    let fake = Fake::default();
    let taken = || RuntimeError::PortTaken("port is already allocated".to_owned());
    let fixture = fixture(fake, 10);
    fixture.reconciler.assign(assignment(1, 1, DesiredState::Stopped));
    fixture.reports.stopped().await;
    fixture.wait_until_idle().await;
    fixture.fake.failures.lock().unwrap().push_back(taken());
    // The container has never run, but its id was reported, so the assignment contains it.
    let mut first = assignment(1, 2, DesiredState::Running);
    first.container.as_mut().unwrap().container_id = Some("c1".to_owned());
    fixture.reconciler.assign(first);
    fixture.reports.running().await;
    assert_eq!(fixture.fake.containers.lock().unwrap()[0].id.as_str(), "c1-moved");

    fixture.wait_until_idle().await;
    fixture.reconciler.assign(assignment(1, 3, DesiredState::Stopped));
    fixture.reports.report(|report| report.generation == 3).await;
    fixture.fake.failures.lock().unwrap().push_back(taken());
    let mut resume = assignment(1, 4, DesiredState::Running);
    resume.container.as_mut().unwrap().container_id = Some("c1-moved".to_owned());
    fixture.reconciler.assign(resume);
    let resumed = fixture.reports.report(|report| report.generation == 4).await;
    let ReportKind::InstanceStatus(observation) = resumed.kind else { panic!("{resumed:?}") };
    assert_eq!(
        (observation.container_id.as_str(), observation.ports.ssh, observation.phase),
        ("c1-moved-moved", 11, Phase::Running)
    );
}

#[tokio::test(start_paused = true)]
async fn reconciler_unresponsive_ssh_server_is_reported_as_failed() {
    let fixture = fixture(Fake { ssh_silent: true, ..Fake::default() }, 10);
    fixture.reconciler.assign(assignment(1, 1, DesiredState::Running));
    assert!(matches!(fixture.reports.failure("runtime_error").await.kind, ReportKind::InstanceFailed(_)));
}

#[tokio::test(start_paused = true)]
async fn reconciler_container_without_assignment_is_reported_and_kept() {
    let fake = Fake::default();
    let (assigned, unassigned) = (assignment(1, 1, DesiredState::Stopped), assignment(2, 1, DesiredState::Stopped));
    let fake = Arc::new(fake);
    for assignment in [&assigned, &unassigned] {
        fake.create(assignment, assignment.container.as_ref().unwrap()).await.unwrap();
    }
    let fixture = fixture(Arc::into_inner(fake).unwrap(), 10);
    fixture.reconciler.assign(assigned);
    fixture.reports.stopped().await;
    fixture.wait_until_idle().await;
    fixture.reports.clear();
    fixture.reconciler.report_unassigned().await.unwrap();
    let report = fixture.reports.report(|report| report.instance_id == instance(2)).await;
    assert_eq!((report.placement, report.generation), (1, 0));
    assert_eq!((fixture.reports.count(), fixture.fake.containers.lock().unwrap().len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn probe_engine_down_or_hanging_sets_the_state() {
    let fixture = fixture(Fake::default(), 1);
    let status = SharedStatus::default();
    let mut changes = status.changes();
    let (reconciler, shared) = (fixture.reconciler.clone(), status.clone());
    tokio::spawn(async move { reconciler.probe_engine(&shared).await });
    let mut next = async || {
        let changed = tokio::time::timeout(Duration::from_secs(3600), changes.changed()).await;
        assert!(changed.is_ok(), "no change; the state is {:?}", status.current());
        status.current().engine.unwrap()
    };
    assert_eq!(next().await, EngineState::Ready);
    fixture.fake.engine_down.store(true, Ordering::Relaxed);
    assert_eq!(next().await, EngineState::Down { reason: ShortText::cleaned("could not run") });
    fixture.fake.engine_down.store(false, Ordering::Relaxed);
    assert_eq!(next().await, EngineState::Ready);
    fixture.fake.engine_hangs.store(true, Ordering::Relaxed);
    assert_eq!(
        next().await,
        EngineState::Down { reason: ShortText::cleaned("the container engine has not answered for 8 s") }
    );
}

#[tokio::test(start_paused = true)]
async fn image_on_its_way_refuses_with_its_progress_and_outlives_the_instance() {
    let fake = Fake { image_arrives: Some(Semaphore::new(0)), ..Fake::default() };
    let missing = || RuntimeError::ImageMissing("box".to_owned());
    fake.failures.lock().unwrap().push_back(missing());
    let fixture = fixture(fake, 3);
    fixture.reconciler.assign(assignment(1, 1, DesiredState::Running));
    let refused = fixture.reports.failure("image_fetching").await;
    let ReportKind::InstanceRefused(error) = refused.kind else { panic!("{refused:?}") };
    assert!(error.message.as_str().contains("box") && error.message.as_str().contains("40 % done"), "{error:?}");

    // Its instance is deleted. The next one waits for the same fetch.
    fixture.reconciler.assign(assignment(1, 2, DesiredState::Deleted));
    fixture.reports.report(|report| report.kind == ReportKind::InstanceDeleted).await;
    fixture.fake.failures.lock().unwrap().push_back(missing());
    fixture.reconciler.assign(assignment(2, 1, DesiredState::Running));
    fixture.fake.image_arrives.as_ref().unwrap().add_permits(1);
    assert_eq!(fixture.reports.running().await.instance_id, instance(2));
    assert_eq!(fixture.fake.fetches.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn keep_machine_fetches_the_image_of_new_instances_before_one_needs_it() {
    let fixture = fixture(Fake { image_arrives: Some(Semaphore::new(0)), ..Fake::default() }, 1);
    let status = SharedStatus::default();
    let mut changes = status.changes();
    let (reconciler, shared) = (fixture.reconciler.clone(), status.clone());
    tokio::spawn(async move { reconciler.keep_machine(&shared).await });
    let mut next = async || {
        let changed = tokio::time::timeout(Duration::from_secs(3600), changes.changed()).await;
        assert!(changed.is_ok(), "no change; the state is {:?}", status.current());
        status.current().image.unwrap()
    };
    fixture.reconciler.images().set_default(Some("team/box:v1".to_owned()));
    assert_eq!(next().await, ImageState::Fetching { percent: Some(40), bytes: 4_000 });
    fixture.fake.image_arrives.as_ref().unwrap().add_permits(1);
    assert_eq!(next().await, ImageState::Ready);
}

#[tokio::test(start_paused = true)]
async fn suspend_reports_and_touches_nothing_until_resumed() {
    let fixture = fixture(Fake::default(), 10);
    fixture.reconciler.assign(assignment(1, 1, DesiredState::Running));
    fixture.reports.running().await;
    fixture.wait_until_idle().await;
    fixture.reports.clear();

    fixture.reconciler.suspend();
    // The container stops by itself; a holder would report that and start it again.
    fixture.fake.containers.lock().unwrap()[0].state = ContainerState::Stopped;
    fixture.reconciler.resync().await.unwrap();
    fixture.reconciler.report_unassigned().await.unwrap();
    fixture.wait_until_idle().await;
    assert_eq!(fixture.reports.count(), 0);
    assert_eq!(fixture.fake.containers.lock().unwrap()[0].state, ContainerState::Stopped);

    fixture.reconciler.resume();
    fixture.reconciler.assign(assignment(1, 1, DesiredState::Running));
    fixture.reports.running().await;
}

mod ends;
