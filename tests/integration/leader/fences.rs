//! Leaders that stop or are paused between two steps of their work.

use std::sync::Arc;

use dockhost::broker::assignments::Assignments;
use dockhost::broker::service::RequestHandler;
use dockhost::common::clock;
use dockhost::event_log::EventLog;
use dockhost::event_log::jetstream::JetStreamLog;
use dockhost::execute::Executor;
use dockhost::leader::dispatcher::{Dispatcher, Trigger, WorkItem};
use dockhost::replica::confirm::ConfirmHandler;
use dockhost_domain::ids::BackendId;
use dockhost_domain::wire::{Confirm, DesiredState, ReportKind};

use crate::event_log::world::{Live, master};
use crate::tenant::Tenant;

/// A dispatcher with an executor of its own, as on another replica.
async fn dispatcher(live: &Live) -> Dispatcher {
    let log: JetStreamLog = live.replica(master(1)).await.unwrap();
    let log = Arc::new(log);
    let executor = Executor::new(Arc::clone(&log) as Arc<dyn EventLog>);
    Dispatcher { log, executor, assignments: assignments(live).await, incarnation: 1 }
}

async fn assignments(live: &Live) -> Assignments {
    Assignments::open(&async_nats::jetstream::new(live.client.clone())).await.unwrap()
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
    let handler = ConfirmHandler { assignments: assignments(&live).await, executor: Arc::clone(executor) };
    let question = Confirm { instance_id: instance, placement: 1, generation: 1 };
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
