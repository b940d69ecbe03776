//! From assignments to reports, with a runtime that keeps count and can be told to fail.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dockhost_domain::ids::UserId;
use dockhost_domain::wire::{ContainerSpec, DesiredState, Limits, Phase, Ports};
use futures::FutureExt;
use futures::future::BoxFuture;
use uuid::Uuid;

use super::*;
use crate::connect::RequestError;
use crate::container::ContainerState;
use crate::reports::{PublishError, ReportSink};

/// A runtime in cache, with failures on order.
#[derive(Default)]
struct Fake {
    containers: Mutex<Vec<Container>>,
    failures: Mutex<VecDeque<RuntimeError>>,
    created: AtomicUsize,
    silent: bool,
}

impl Fake {
    fn fail(&self) -> Result<(), RuntimeError> {
        self.failures.lock().unwrap().pop_front().map_or(Ok(()), Err)
    }

    fn set(&self, id: &str, state: ContainerState) -> Result<(), RuntimeError> {
        let mut containers = self.containers.lock().unwrap();
        let container = containers.iter_mut().find(|container| container.id == id).ok_or(RuntimeError::NotFound)?;
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

    async fn ensure_image(&self, image: Option<&str>) -> Result<(), RuntimeError> {
        Err(RuntimeError::ImageMissing(image.unwrap_or("default").to_owned()))
    }

    async fn create(&self, assignment: &Assignment, _spec: &ContainerSpec) -> Result<(), RuntimeError> {
        self.fail()?;
        let made = self.created.fetch_add(1, Ordering::Relaxed) + 1;
        let mut containers = self.containers.lock().unwrap();
        if containers.iter().any(|c| (c.instance, c.placement) == (assignment.instance_id, assignment.placement)) {
            return Err(RuntimeError::AlreadyExists);
        }
        containers.push(Container {
            id: format!("c{made}"),
            former_ids: vec![],
            instance: assignment.instance_id,
            user: assignment.user_id,
            placement: assignment.placement,
            ports: Ports { ssh: 1, http: 2, https: 3 },
            state: ContainerState::Created,
            host_keys: vec![],
        });
        Ok(())
    }

    async fn start(&self, container: &Container, _spec: Option<&ContainerSpec>) -> Result<(), RuntimeError> {
        self.fail()?;
        self.set(&container.id, ContainerState::Starting)
    }

    async fn is_ssh_ready(&self, _container: &Container) -> bool {
        !self.silent
    }

    async fn host_keys(&self, container: &Container) -> Result<Vec<String>, RuntimeError> {
        Ok(vec![format!("SHA256:{}", container.id)])
    }

    async fn recreate_with_new_ports(
        &self,
        container: &Container,
        _assignment: &Assignment,
    ) -> Result<(), RuntimeError> {
        let mut containers = self.containers.lock().unwrap();
        let kept = containers.iter_mut().find(|c| c.id == container.id).ok_or(RuntimeError::NotFound)?;
        kept.former_ids.push(std::mem::replace(&mut kept.id, format!("{}-moved", container.id)));
        kept.ports = Ports { ssh: 11, http: 12, https: 13 };
        Ok(())
    }

    async fn stop(&self, id: &str) -> Result<(), RuntimeError> {
        self.set(id, ContainerState::Stopped)
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        self.containers.lock().unwrap().retain(|container| container.id != id);
        Ok(())
    }
}

/// Says of everything that it stands, until told otherwise; nothing while it is unavailable.
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
        let stands = !self.obsolete.load(Ordering::Relaxed);
        async move { if unavailable { Err(RequestError("unavailable".to_owned())) } else { Ok(stands) } }.boxed()
    }
}

/// Collects what is last_reported, as the broker would.
#[derive(Default, Clone)]
struct ReportCollector(Arc<Mutex<Vec<Report>>>, Arc<Notify>);

impl ReportSink for ReportCollector {
    async fn send(&self, report: &Report, _message_id: &str) -> Result<(), PublishError> {
        self.0.lock().unwrap().push(report.clone());
        self.1.notify_one();
        Ok(())
    }
}

impl ReportCollector {
    /// Waits for a report that passes, and returns it.
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
            Err(_) => panic!("never reports; reports: {:#?}", self.0.lock().unwrap()),
        }
    }

    async fn running(&self) -> Report {
        self.report(|report| matches!(&report.kind, ReportKind::InstanceStatus(seen) if seen.phase == Phase::Running))
            .await
    }

    async fn stopped(&self) -> Report {
        self.report(|report| matches!(&report.kind, ReportKind::InstanceStatus(seen) if seen.phase == Phase::Stopped))
            .await
    }

    async fn failure(&self, code: &str) -> Report {
        self.report(
            |report| matches!(&report.kind, ReportKind::InstanceRefused(t) | ReportKind::InstanceFailed(t) if t.code == code),
        )
        .await
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
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

/// A fixture with room for `max` containers; time is paused, so that pauses take none.
fn fixture(fake: Fake, max: u32) -> Fixture {
    let (fake, reports, outbox, stop) =
        (Arc::new(fake), ReportCollector::default(), Outbox::default(), CancellationToken::new());
    let (capacity, confirmer) = (Arc::new(Capacity::new(max)), FakeConfirmer::default());
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
    /// Until every worker rests.
    async fn idle(&self) {
        let idle = async {
            while self.reconciler.0.entries().values().any(|entry| entry.has_worker)
                || !self.reconciler.0.outbox.is_empty()
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(3600), idle).await.is_ok(), "never rests");
    }
}

fn instance(n: u128) -> InstanceId {
    InstanceId::from_uuid(Uuid::from_u128(n))
}

fn assignment(n: u128, generation: u32, wanted: DesiredState) -> Assignment {
    Assignment {
        instance_id: instance(n),
        user_id: UserId::from_uuid(Uuid::from_u128(7)),
        placement: 1,
        generation,
        desired: wanted,
        container: (wanted != DesiredState::Deleted).then(|| ContainerSpec {
            image: None,
            hostname: "box".to_owned(),
            ssh_public_key: String::new(),
            limits: Limits { memory_mib: 1, cpu_millis: 1, pids: 1 },
            container_id: None,
        }),
    }
}

fn passing() -> RuntimeError {
    RuntimeError::Other { action: "could not", source: anyhow::anyhow!("hiccup") }
}

#[tokio::test(start_paused = true)]
async fn an_instance_lives_and_dies_as_assigned() {
    let fixture = fixture(Fake::default(), 10);
    fixture.reconciler.assign(assignment(1, 1, DesiredState::Running));
    let running = fixture.reports.running().await;
    let ReportKind::InstanceStatus(seen) = &running.kind else { unreachable!() };
    assert_eq!((running.generation, seen.host_keys.as_slice()), (1, &["SHA256:c1".to_owned()][..]));

    fixture.reconciler.assign(assignment(1, 2, DesiredState::Stopped));
    let stopped = fixture.reports.report(|report| report.generation == 2).await;
    let ReportKind::InstanceStatus(seen) = &stopped.kind else { panic!("{stopped:?}") };
    assert_eq!((seen.phase, seen.host_keys.len()), (Phase::Stopped, 1));

    fixture.reconciler.assign(assignment(1, 3, DesiredState::Deleted));
    assert_eq!(fixture.reports.report(|report| report.generation == 3).await.kind, ReportKind::InstanceDeleted);
    assert!(fixture.fake.containers.lock().unwrap().is_empty());
    fixture.idle().await;
    assert!(fixture.reconciler.0.entries().is_empty(), "a confirmed deletion is forgotten");
    assert_eq!(fixture.reconciler.0.capacity.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_is_not_made_again_by_an_assignment_from_before() {
    let fixture = fixture(Fake::default(), 10);
    fixture.reconciler.assign(assignment(1, 1, DesiredState::Running));
    fixture.reports.running().await;
    fixture.reconciler.assign(assignment(1, 3, DesiredState::Deleted));
    fixture.reports.report(|report| report.kind == ReportKind::InstanceDeleted).await;
    fixture.idle().await;
    // As a node of the broker hands them out that has yet to learn what became of them; an agent that was started anew
    // remembers nothing either.
    fixture.confirmer.obsolete.store(true, Ordering::Relaxed);
    for (generation, wanted) in [(1, DesiredState::Running), (2, DesiredState::Stopped), (3, DesiredState::Running)] {
        fixture.reconciler.assign(assignment(1, generation, wanted));
        fixture.idle().await;
    }
    assert_eq!(fixture.fake.created.load(Ordering::Relaxed), 1);
    assert!(fixture.reconciler.0.entries().is_empty(), "what is obsolete is forgotten");
    let count = fixture.reports.count();
    fixture.reconciler.assign(assignment(1, 3, DesiredState::Deleted));
    fixture.idle().await;
    assert_eq!(fixture.reports.count(), count + 1, "whoever asks for the deletion again is answered again");
    // A new placement is a new container.
    fixture.confirmer.obsolete.store(false, Ordering::Relaxed);
    fixture.reconciler.assign(Assignment { placement: 2, ..assignment(1, 3, DesiredState::Running) });
    fixture.idle().await;
    assert_eq!(fixture.fake.created.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn no_container_is_made_before_the_server_says_that_it_is_wanted() {
    let fixture = fixture(Fake::default(), 10);
    fixture.confirmer.unavailable.store(true, Ordering::Relaxed);
    fixture.reconciler.assign(assignment(1, 1, DesiredState::Running));
    fixture.reconciler.assign(assignment(2, 1, DesiredState::Running));
    let asked_often = async {
        while fixture.confirmer.requests.load(Ordering::Relaxed) < 20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3600), asked_often).await.unwrap();
    assert_eq!(
        (fixture.fake.created.load(Ordering::Relaxed), fixture.reports.count()),
        (0, 0),
        "waiting is no failure"
    );
    // Who waits for an answer gives way to something newer.
    fixture.reconciler.assign(assignment(2, 2, DesiredState::Deleted));
    fixture.reports.report(|report| report.kind == ReportKind::InstanceDeleted).await;
    fixture.confirmer.unavailable.store(false, Ordering::Relaxed);
    fixture.reports.running().await;
    fixture.idle().await;
    assert_eq!(fixture.fake.created.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn repeated_and_older_assignments_change_nothing_and_say_nothing() {
    let fixture = fixture(Fake::default(), 10);
    fixture.reconciler.assign(assignment(1, 2, DesiredState::Running));
    fixture.reports.running().await;
    fixture.idle().await;
    let count = fixture.reports.count();
    for _ in 0..3 {
        fixture.reconciler.assign(assignment(1, 2, DesiredState::Running));
        fixture.reconciler.assign(assignment(1, 1, DesiredState::Deleted));
        fixture.reconciler.resync().await.unwrap();
    }
    fixture.idle().await;
    assert_eq!((fixture.reports.count(), fixture.fake.created.load(Ordering::Relaxed)), (count, 1));
}

#[tokio::test(start_paused = true)]
async fn side_by_side_creations_never_exceed_the_places() {
    let fixture = fixture(Fake::default(), 5);
    for n in 1..=40 {
        fixture.reconciler.assign(assignment(n, 1, DesiredState::Running));
    }
    fixture.idle().await;
    fixture.reports.report(|report| matches!(report.kind, ReportKind::InstanceRefused(_))).await;
    assert_eq!(fixture.fake.containers.lock().unwrap().len(), 5);
    // A refusal stands, even if there is room later: the instance may be elsewhere by now.
    let victim = fixture.fake.containers.lock().unwrap()[0].instance;
    fixture.reconciler.assign(Assignment { instance_id: victim, ..assignment(1, 2, DesiredState::Deleted) });
    fixture.idle().await;
    fixture.reconciler.resync().await.unwrap();
    fixture.idle().await;
    assert_eq!(fixture.fake.containers.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_stopped_by_itself_is_reported_and_started_again() {
    let fixture = fixture(Fake::default(), 10);
    fixture.reconciler.assign(assignment(1, 1, DesiredState::Running));
    fixture.reports.running().await;
    fixture.idle().await;
    fixture.reports.clear();
    fixture.fake.set("c1", ContainerState::Stopped).unwrap();
    fixture.reconciler.resync().await.unwrap();
    fixture.reports.running().await;
    assert_eq!(fixture.fake.containers.lock().unwrap()[0].state, ContainerState::Starting);
}

#[tokio::test(start_paused = true)]
async fn hiccups_are_tried_again_and_lasting_trouble_is_said_once_and_mended_later() {
    let fake = Fake::default();
    fake.failures.lock().unwrap().extend([passing(), passing()]);
    let fixture = fixture(fake, 10);
    fixture.reconciler.assign(assignment(1, 1, DesiredState::Running));
    fixture.reports.running().await;

    fixture.fake.failures.lock().unwrap().extend((0..6).map(|_| passing()));
    fixture.reconciler.assign(assignment(2, 1, DesiredState::Running));
    let failure = fixture.reports.failure("runtime_error").await;
    assert_eq!(failure.instance_id, instance(2));
    fixture.idle().await;
    let count = fixture.reports.count();
    fixture.reconciler.resync().await.unwrap();
    fixture.idle().await;
    assert_eq!(fixture.reports.count(), count, "the same trouble is not last_reported twice");
    fixture.reconciler.resync().await.unwrap();
    fixture.reports.report(|r| r.instance_id == instance(2) && matches!(r.kind, ReportKind::InstanceStatus(_))).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_made_is_refused_with_its_reason() {
    let range = "20000-20002".parse().unwrap();
    for (error, code) in [
        (RuntimeError::NoPorts(range), "no_ports"),
        (RuntimeError::Refused("no".to_owned()), "told_to_refuse"),
        (RuntimeError::ImageMissing("img".to_owned()), "image_missing"),
    ] {
        let fake = Fake::default();
        fake.failures.lock().unwrap().push_back(error);
        let fixture = fixture(fake, 10);
        fixture.reconciler.assign(assignment(1, 1, DesiredState::Running));
        assert!(matches!(fixture.reports.failure(code).await.kind, ReportKind::InstanceRefused(_)));
        fixture.idle().await;
        assert_eq!(fixture.reconciler.0.capacity.used(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn taken_ports_cost_a_container_its_ports_only_whether_it_ran_or_not() {
    let fake = Fake::default();
    let taken = || RuntimeError::PortTaken("port is already allocated".to_owned());
    let fixture = fixture(fake, 10);
    fixture.reconciler.assign(assignment(1, 1, DesiredState::Stopped));
    fixture.reports.stopped().await;
    fixture.idle().await;
    fixture.fake.failures.lock().unwrap().push_back(taken());
    // It has never run, but its id was reported, and so the confirmer names it.
    let mut first = assignment(1, 2, DesiredState::Running);
    first.container.as_mut().unwrap().container_id = Some("c1".to_owned());
    fixture.reconciler.assign(first);
    fixture.reports.running().await;
    assert_eq!(fixture.fake.containers.lock().unwrap()[0].id, "c1-moved");

    fixture.idle().await;
    fixture.reconciler.assign(assignment(1, 3, DesiredState::Stopped));
    fixture.reports.report(|report| report.generation == 3).await;
    fixture.fake.failures.lock().unwrap().push_back(taken());
    let mut resume = assignment(1, 4, DesiredState::Running);
    resume.container.as_mut().unwrap().container_id = Some("c1-moved".to_owned());
    fixture.reconciler.assign(resume);
    let resumed = fixture.reports.report(|report| report.generation == 4).await;
    let ReportKind::InstanceStatus(seen) = resumed.kind else { panic!("{resumed:?}") };
    assert_eq!((seen.container_id.as_str(), seen.ports.ssh, seen.phase), ("c1-moved-moved", 11, Phase::Running));
}

#[tokio::test(start_paused = true)]
async fn a_silent_ssh_server_is_trouble() {
    let fixture = fixture(Fake { silent: true, ..Fake::default() }, 10);
    fixture.reconciler.assign(assignment(1, 1, DesiredState::Running));
    assert!(matches!(fixture.reports.failure("runtime_error").await.kind, ReportKind::InstanceFailed(_)));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_container_is_reported_and_left_alone() {
    let fake = Fake::default();
    let (known, unknown) = (assignment(1, 1, DesiredState::Stopped), assignment(2, 1, DesiredState::Stopped));
    let fake = Arc::new(fake);
    for assignment in [&known, &unknown] {
        fake.create(assignment, assignment.container.as_ref().unwrap()).await.unwrap();
    }
    let fixture = fixture(Arc::into_inner(fake).unwrap(), 10);
    fixture.reconciler.assign(known);
    fixture.reports.stopped().await;
    fixture.idle().await;
    fixture.reports.clear();
    fixture.reconciler.report_unassigned().await.unwrap();
    let report = fixture.reports.report(|report| report.instance_id == instance(2)).await;
    assert_eq!((report.placement, report.generation), (1, 0));
    assert_eq!((fixture.reports.count(), fixture.fake.containers.lock().unwrap().len()), (1, 2));
}
