//! What a backend may do: hello, confirm, report, heartbeat and pull, all across the border of its account.

use dockhost_domain::backend::{Connected, MarkConnected};
use dockhost_domain::placement::Candidate;
use dockhost_domain::reported::HostKeys;
use dockhost_domain::subject::{ALL_HEARTBEATS, Channel};
use dockhost_domain::tenancy::{Facts, HandleReport, MoveInstance, Occasion, OnLost, Policy, ReportPosition};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::{Assignment, Confirm, DesiredState, Observation, Phase, Ports, Report, ReportKind};
use futures::StreamExt;
use serde_json::json;

use super::*;
use crate::tenant::{Tenant, origin};

#[tokio::test]
async fn hello_returns_the_number_of_assignments() {
    let world = World::new().await;
    let ada = world.ada().await;
    assert_eq!(ada.hello().await.assignments, 0);
    world.assign(world.ada, "one").await;
    world.assign(world.ada, "two").await;
    world.assign(world.bob, "bob's").await;
    let welcome = ada.hello().await;
    assert_eq!((welcome.backend_id, welcome.assignments, welcome.max_containers), (world.ada, 2, 8));
    assert_eq!(welcome.image.as_deref(), Some("team/box:v1"));
    assert_eq!((welcome.stream, welcome.consumer), ("ASSIGNMENTS".to_owned(), world.ada.to_string()));
}

/// The backend's consumer and the stream may hold old assignments; the log decides.
#[tokio::test]
async fn confirm_answers_whether_an_assignment_is_current() {
    let world = World::new().await;
    let (ada, bob) = (world.ada().await, world.bob().await);
    let tenant = Tenant::new(world.ada);
    let instance = tenant.instance_id;
    let question = |instance_id, placement, generation| Confirm { instance_id, placement, generation, agent_run: None };
    assert!(!ada.confirm(&question(instance, 1, 2)).await, "not assigned");
    let put = async |generation, desired| {
        let user_id = tenant.user_id;
        let assignment =
            Assignment { instance_id: instance, user_id, placement: 1, generation, desired, container: None };
        let current = world.assignments.current(world.ada, instance).await.unwrap();
        assert!(world.assignments.replace(world.ada, &assignment, &current).await.unwrap());
    };
    tenant.request(&world.executor).await;
    tenant.change(&world.executor, DesiredState::Stopped).await;
    put(2, DesiredState::Stopped).await;
    assert!(ada.confirm(&question(instance, 1, 2)).await);
    assert!(!ada.confirm(&question(instance, 1, 1)).await, "an older one");
    assert!(!ada.confirm(&question(instance, 2, 2)).await, "of another placement");
    assert!(!bob.confirm(&question(instance, 1, 2)).await, "assigned to another backend");
    tenant.change(&world.executor, DesiredState::Deleted).await;
    assert!(!ada.confirm(&question(instance, 1, 2)).await, "no longer wanted, though it is in the stream");
    put(3, DesiredState::Deleted).await;
    assert!(!ada.confirm(&question(instance, 1, 2)).await, "replaced");
    let current = world.assignments.current(world.ada, instance).await.unwrap();
    world.assignments.remove(current.sequence).await.unwrap();
    assert!(!ada.confirm(&question(instance, 1, 3)).await, "removed");

    assert_eq!(ada.refused_confirm("what?".to_owned()).await, "400");
}

#[tokio::test]
async fn report_is_stored_and_acknowledged() {
    let world = World::new().await;
    let ada = world.ada().await;
    let subject = Channel::Report(world.ada).to_string();
    let jetstream = async_nats::jetstream::new(ada.client.clone());
    let stored = jetstream.publish(subject.clone(), "report".into()).await.unwrap().await.unwrap();
    assert_eq!((stored.stream.as_str(), stored.sequence), ("REPORTS", 1));
    let message = world.main.jetstream().get_stream("REPORTS").await.unwrap().get_raw_message(1).await.unwrap();
    assert_eq!((message.subject.as_str(), &message.payload[..]), (subject.as_str(), &b"report"[..]));
}

#[tokio::test]
async fn heartbeat_reaches_the_server() {
    let world = World::new().await;
    let mut heartbeats = world.main.client().subscribe(ALL_HEARTBEATS).await.unwrap();
    world.main.client().flush().await.unwrap();
    let ada = world.ada().await;
    ada.client.publish(Channel::Heartbeat(world.ada).to_string(), "alive".into()).await.unwrap();
    let heartbeat = timeout(DEADLINE, heartbeats.next()).await.unwrap().unwrap();
    assert_eq!(heartbeat.subject.parse(), Ok(Channel::Heartbeat(world.ada)));
}

/// One request has many replies: waiting messages, idle heartbeats, and a message that is stored later.
#[tokio::test]
async fn pull_one_request_delivers_many_assignments() {
    let world = World::new().await;
    let ada = world.ada().await;
    let waiting = [world.assign(world.ada, "0").await, world.assign(world.ada, "1").await];
    assert_eq!(ada.hello().await.assignments, 2);
    let mut pull = ada.pull(&json!({ "batch": 3, "expires": 30_000_000_000_u64, "idle_heartbeat": 500_000_000 })).await;
    for instance in waiting {
        let message = pull.next().await;
        assert_eq!(message.subject.parse(), Ok(Channel::Assignment(world.ada, instance)));
    }
    assert_eq!(pull.next_status().await, 100);
    let late = world.assign(world.ada, "2").await;
    let message = loop {
        let message = pull.next().await;
        if message.status.is_none() {
            break message;
        }
    };
    assert_eq!(message.subject.parse(), Ok(Channel::Assignment(world.ada, late)));
    assert_eq!(message.payload, "2".as_bytes());
}

/// The status tells the agent whether to pull again or to say hello again.
#[tokio::test]
async fn pull_end_reports_its_status() {
    let world = World::new().await;
    let ada = world.ada().await;
    let long = json!({ "batch": 3, "expires": 30_000_000_000_u64 });
    assert_eq!(ada.pull(&long).await.next_status().await, 503, "without a consumer");
    ada.hello().await;
    assert_eq!(ada.pull(&json!({ "batch": 3, "no_wait": true })).await.next_status().await, 404, "nothing waits");
    assert_eq!(ada.pull(&json!({ "batch": 3, "expires": 1_000_000 })).await.next_status().await, 408, "time is up");
    let mut current = ada.pull(&long).await;
    // The broker does not answer a pull request that arrives after its consumer was removed.
    let stream = world.main.jetstream().get_stream(streams::ASSIGNMENTS).await.unwrap();
    wait_until("the pull request is registered", DEADLINE, async || {
        match stream.consumer_info(world.ada.to_string()).await.unwrap().num_waiting {
            0 => Err("no request waits"),
            _ => Ok(()),
        }
    })
    .await;
    ada.hello().await;
    assert_eq!(current.next_status().await, 409, "the consumer was replaced");
}

#[tokio::test]
async fn hello_repeated_delivers_the_last_assignments_again() {
    let world = World::new().await;
    let ada = world.ada().await;
    let instance = world.assign(world.ada, "old").await;
    let subject = Channel::Assignment(world.ada, instance).to_string();
    world.main.jetstream().publish(subject, "new".into()).await.unwrap().await.unwrap();
    for _ in 0..2 {
        assert_eq!(ada.hello().await.assignments, 1);
        let mut pull = ada.pull(&json!({ "batch": 3, "no_wait": true })).await;
        assert_eq!(pull.next().await.payload, "new".as_bytes());
        assert_eq!(pull.next_status().await, 404);
    }
}

/// So that not two containers of the instance run in reach.
#[tokio::test]
async fn confirm_of_a_moved_instance_waits_until_a_backend_that_returned_has_removed_its_container() {
    let world = World::new().await;
    let bob = world.bob().await;
    let (tenant, executor) = (Tenant::new(world.ada), &world.executor);
    let (instance_id, user_id) = (tenant.instance_id, tenant.user_id);
    tenant.enrol_backend(executor).await;
    tenant.request_with(executor, OnLost::Recreate).await;
    let running = Observation {
        phase: Phase::Running,
        container_id: "3f4e1c9a7b52".parse().unwrap(),
        ports: Ports { ssh: 20000, http: 20001, https: 20002 },
        host_keys: HostKeys::default(),
        ended: None,
    };
    assert!(tenant.report(executor, ReportKind::InstanceCreated(running)).await);
    let candidates = vec![Candidate::new(world.bob, 8)];
    let facts = Facts { now: clock::now(), policy: Policy::default(), candidates, tie_breaker: 0 };
    let occasion = Occasion::LostSince(Timestamp::from_millis(0));
    let command = MoveInstance { backend_id: world.ada, instance_id, occasion, facts };
    executor.execute(user_id, origin(), command).await.unwrap();
    let assignment = Assignment {
        instance_id,
        user_id,
        placement: 2,
        generation: 2,
        desired: DesiredState::Running,
        container: None,
    };
    let current = world.assignments.current(world.bob, instance_id).await.unwrap();
    assert!(world.assignments.replace(world.bob, &assignment, &current).await.unwrap());
    let question = Confirm { instance_id, placement: 2, generation: 2, agent_run: None };
    assert!(bob.confirm(&question).await, "the other one is away");

    let returned = MarkConnected(Connected {
        address: "192.0.2.1".to_owned().into(),
        runtime: "simulated".to_owned(),
        agent_version: "test".to_owned(),
    });
    executor.execute(world.ada, origin(), returned).await.unwrap();
    assert_eq!(bob.refused_confirm(serde_json::to_string(&question).unwrap()).await, "503");
    let report = Report { instance_id, user_id, placement: 1, generation: 2, kind: ReportKind::InstanceDeleted };
    let position = ReportPosition { incarnation: 1, sequence: 99 };
    let facts = Facts { now: clock::now(), policy: Policy::default(), candidates: Vec::new(), tie_breaker: 0 };
    let removed = HandleReport { backend_id: world.ada, report, position, facts };
    executor.execute(user_id, origin(), removed).await.unwrap();
    assert!(bob.confirm(&question).await);
}
