//! Leaders that stop or are paused between two steps of their work.

use std::sync::Arc;

use dockhost::broker::assignments::{Assignments, CurrentAssignment};
use dockhost::broker::holders::Holders;
use dockhost::broker::service::RequestHandler;
use dockhost::broker::streams::incarnation::StreamIncarnation;
use dockhost::broker::streams::{ASSIGNMENTS, EVENTS};
use dockhost::common::clock;
use dockhost::event_log::jetstream::JetStreamLog;
use dockhost::event_log::{EventLog, Filter};
use dockhost::execute::Executor;
use dockhost::leader::dispatcher::{Dispatcher, Trigger, WorkItem, consumer_name};
use dockhost::replica::bootstrap;
use dockhost::replica::confirm::ConfirmHandler;
use dockhost::replica::follower::Follower;
use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::wire::{Assignment, Confirm, DesiredState, ReportKind};
use dockhost_projections::instances::Instances;
use dockhost_projections::{LogEntry, MongoStore, Projector};
use tokio_util::sync::CancellationToken;

use crate::event_log::world::{Live, master};
use crate::harness::wait::DEADLINE;
use crate::harness::{Mongo, wait_until};
use crate::tenant::Tenant;

/// A dispatcher with an executor of its own, as on another replica, and without a database.
async fn dispatcher(live: &Live) -> Dispatcher {
    dispatcher_with(live, MongoStore::connect("mongodb://127.0.0.1:1/?directConnection=true", "none").await.unwrap())
        .await
}

async fn dispatcher_with(live: &Live, store: MongoStore) -> Dispatcher {
    let log: JetStreamLog = live.replica(master(1)).await.unwrap();
    let log = Arc::new(log);
    let executor = Executor::new(Arc::clone(&log) as Arc<dyn EventLog>);
    Dispatcher { log, executor, assignments: assignments(live).await, store }
}

async fn assignments(live: &Live) -> Assignments {
    Assignments::open(&async_nats::jetstream::new(live.client.clone())).await.unwrap()
}

/// A replica that starts, and how many places its fleet counts as used.
async fn places_used(live: &Live) -> u32 {
    let log: Arc<dyn EventLog> = Arc::new(live.replica(master(1)).await.unwrap());
    let follower = Follower::new(Executor::new(Arc::clone(&log)), Arc::default());
    bootstrap::run(&follower, &log, &assignments(live).await, log.end(Filter::All).await.unwrap()).await.unwrap();
    follower.fleet().candidates().iter().map(|candidate| candidate.used).sum()
}

/// A backend is told to remove a container that no event knows, and confirms it without an event.
#[tokio::test]
async fn bootstrap_counts_no_place_that_no_event_can_free() {
    let live = Live::start().await;
    let leader = dispatcher(&live).await;
    let tenant = Tenant::new(BackendId::from_uuid(clock::fresh_uuid()));
    let backend = tenant.backend_id;
    tenant.enrol_backend(&leader.executor).await;
    tenant.request(&leader.executor).await;
    let item = |trigger| WorkItem::for_backend(tenant.user_id, tenant.instance_id, backend, trigger);
    leader.reconcile(&item(Trigger::Changed)).await.unwrap();
    assert_eq!(places_used(&live).await, 1);

    let unknown = InstanceId::from_uuid(clock::fresh_uuid());
    let leftover = |trigger| WorkItem::for_backend(tenant.user_id, unknown, backend, trigger);
    leader.reconcile(&leftover(Trigger::OrphanedContainer { placement: 1 })).await.unwrap();
    assert_eq!(leader.assignments.of(backend).await.unwrap().len(), 2);
    assert_eq!(places_used(&live).await, 1, "while the leftover is being removed");
    leader.reconcile(&leftover(Trigger::Removed)).await.unwrap();
    assert_eq!(places_used(&live).await, 1);

    // A removal that the tenancy waits for does take a place.
    tenant.change(&leader.executor, DesiredState::Deleted).await;
    leader.reconcile(&item(Trigger::Changed)).await.unwrap();
    assert_eq!(places_used(&live).await, 1, "while the instance is being deleted");
    assert!(tenant.report(&leader.executor, ReportKind::InstanceDeleted).await);
    leader.reconcile(&item(Trigger::Removed)).await.unwrap();
    assert_eq!(places_used(&live).await, 0);
}

/// A leader is killed after it removed the old assignment and before it published the new one.
#[tokio::test]
async fn sweep_missing_assignment_is_published_again() {
    let live = Live::start().await;
    let mongo = Mongo::shared().await;
    let store = MongoStore::connect(&mongo.uri, &mongo.database).await.unwrap();
    let leader = dispatcher_with(&live, store.clone()).await;
    let tenant = Tenant::new(BackendId::from_uuid(clock::fresh_uuid()));
    let (backend, instance) = (tenant.backend_id, tenant.instance_id);
    tenant.request(&leader.executor).await;
    tenant.change(&leader.executor, DesiredState::Stopped).await;
    let events = leader.log.load(AggregateId::Tenancy(tenant.user_id), 0).await.unwrap();
    let events: Vec<LogEntry> = events.into_iter().map(LogEntry::from).collect();
    let mut projector = Projector::<Instances>::open(store, leader.log.incarnation()).await.unwrap();
    projector.apply(&events).await.unwrap();
    assert_eq!(leader.assignments.current(backend, instance).await.unwrap().sequence, 0);

    leader.sweep(&CancellationToken::new()).await.unwrap();
    let current = leader.assignments.current(backend, instance).await.unwrap();
    let found = current.assignment.map(|assignment| (assignment.generation, assignment.desired));
    assert_eq!(found, Some((2, DesiredState::Stopped)));
    // A sweep that finds no difference publishes nothing.
    leader.sweep(&CancellationToken::new()).await.unwrap();
    assert_eq!(leader.assignments.current(backend, instance).await.unwrap().sequence, current.sequence);
}

#[tokio::test]
async fn sweep_without_the_database_corrects_what_is_published_unless_cancelled() {
    let live = Live::start().await;
    let leader = dispatcher(&live).await;
    let backend = BackendId::from_uuid(clock::fresh_uuid());
    let mut obsolete = Vec::new();
    for _ in 0..40 {
        let tenant = Tenant::new(backend);
        let assignment = Assignment {
            instance_id: tenant.instance_id,
            user_id: tenant.user_id,
            placement: 1,
            generation: 1,
            desired: DesiredState::Running,
            container: None,
        };
        let nothing = CurrentAssignment { sequence: 0, assignment: None };
        assert!(leader.assignments.replace(backend, &assignment, &nothing).await.unwrap());
        obsolete.push(tenant.instance_id);
    }
    let desired = async || {
        let mut all = Vec::new();
        for instance in &obsolete {
            let current = leader.assignments.current(backend, *instance).await.unwrap();
            all.push(current.assignment.unwrap().desired);
        }
        all
    };
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    leader.sweep(&cancelled).await.unwrap();
    assert_eq!(desired().await, [DesiredState::Running; 40]);
    leader.sweep(&CancellationToken::new()).await.unwrap();
    assert_eq!(desired().await, [DesiredState::Deleted; 40]);
}

/// The supervisor restarts a role that ends. The sweep, which waits for its next time, must not keep the role alive.
#[tokio::test]
async fn dispatcher_whose_events_end_ends_although_the_sweep_waits() {
    let live = Live::start().await;
    let leader = dispatcher(&live).await;
    let js = async_nats::jetstream::new(live.client.clone());
    let filled = StreamIncarnation::read(&js, ASSIGNMENTS).await.unwrap();
    let follower = Follower::new(Arc::clone(&leader.executor), Arc::default());
    let run = tokio::spawn(async move {
        leader.run(&follower, filled, CancellationToken::new()).await.map_err(|error| error.to_string())
    });
    wait_until("the role reads events", DEADLINE, async || {
        let stream = js.get_stream(EVENTS).await.map_err(|error| error.to_string())?;
        stream.consumer_info(consumer_name(filled)).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
    js.delete_stream(EVENTS).await.unwrap();
    let ended = tokio::time::timeout(DEADLINE, run).await.expect("the role goes on without events");
    assert!(ended.unwrap().is_err());
}

/// The old leader stops between its decision and its publish; until it wakes, the instance is deleted, and the removal
/// is confirmed.
#[tokio::test]
async fn dispatcher_paused_before_its_publish_revives_no_deleted_instance() {
    let live = Live::start().await;
    let (paused, successor) = (dispatcher(&live).await, dispatcher(&live).await);
    let executor = &successor.executor;
    let tenant = Tenant::new(BackendId::from_uuid(clock::fresh_uuid()));
    let (backend, instance) = (tenant.backend_id, tenant.instance_id);
    let item = |trigger| WorkItem::for_backend(tenant.user_id, instance, backend, trigger);

    tenant.request(executor).await;
    let planned = paused.prepare(&item(Trigger::Changed)).await.unwrap();
    successor.reconcile(&item(Trigger::Changed)).await.unwrap();
    tenant.change(executor, DesiredState::Deleted).await;
    successor.reconcile(&item(Trigger::Changed)).await.unwrap();
    assert!(tenant.report(executor, ReportKind::InstanceDeleted).await);
    successor.reconcile(&item(Trigger::Removed)).await.unwrap();
    let current = successor.assignments.current(backend, instance).await.unwrap();
    assert_eq!((current.sequence, current.assignment), (0, None));

    // The subject is empty again, so its publish succeeds, but it sees that the state has changed.
    assert!(!paused.carry_out(&item(Trigger::Changed), &planned).await.unwrap());
    let current = successor.assignments.current(backend, instance).await.unwrap();
    assert_eq!(current.assignment.map(|assignment| assignment.desired), Some(DesiredState::Running));
    // An agent that receives it in between creates nothing.
    let holders = Arc::new(Holders::new(async_nats::jetstream::new(live.client.clone())));
    let handler = ConfirmHandler { assignments: assignments(&live).await, holders, executor: Arc::clone(executor) };
    let question = Confirm { instance_id: instance, placement: 1, generation: 1, agent_run: None };
    let confirmed = handler.handle(backend, &serde_json::to_vec(&question).unwrap()).await.unwrap();
    assert!(!confirmed.is_current, "the deleted instance would be created again");

    // Its next attempt has the container removed, and the confirmation removes the assignment.
    paused.reconcile(&item(Trigger::Changed)).await.unwrap();
    let current = paused.assignments.current(backend, instance).await.unwrap();
    assert_eq!(current.assignment.map(|assignment| assignment.desired), Some(DesiredState::Deleted));
    assert!(!tenant.report(executor, ReportKind::InstanceDeleted).await);
    successor.reconcile(&item(Trigger::Removed)).await.unwrap();
    assert_eq!(successor.assignments.current(backend, instance).await.unwrap().sequence, 0);
}
