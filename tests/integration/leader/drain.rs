//! Draining and retiring a machine.

use std::sync::Arc;

use dockhost::execute::Executor;
use dockhost_domain::aggregate::Command;
use dockhost_domain::backend::{Backend, CancelDrain, StartDrain};
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::BackendId;
use dockhost_domain::tenancy::{ChangeInstance, Policy};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::DesiredState;
use serde_json::{Value, json};

use super::{INSTANCE, id_of, wait_for};
use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

fn in_seconds(seconds: u64) -> Timestamp {
    dockhost::common::clock::now().after(std::time::Duration::from_secs(seconds))
}

async fn executor(world: &World) -> Arc<Executor> {
    Executor::new(Arc::new(world.nats.log().await))
}

fn origin() -> Origin {
    Origin::new(Actor::Operator, "test")
}

async fn execute<C: Command<Aggregate = Backend> + Clone + 'static>(world: &World, backend: BackendId, command: C) {
    executor(world).await.execute(backend, origin(), command).await.unwrap();
}

/// Waits until the drain of a backend has ended.
async fn wait_until_ended(world: &World, backend: BackendId) {
    let executor = executor(world).await;
    wait_until("the drain has ended", DEADLINE, async || {
        let state = executor.confirmed::<Backend>(backend).await.unwrap();
        let drain = state.state.machine.as_ref().and_then(|machine| machine.drain);
        if drain.is_some_and(|drain| drain.ended_at.is_some()) { Ok(()) } else { Err(format!("{drain:?}")) }
    })
    .await;
}

#[tokio::test]
async fn drain_stops_what_runs_and_ends_and_undrain_lets_it_go_on() {
    let mut world = World::start(1).await;
    world.add_agent("alpha", 5).await;
    let user = world.user("ada").await;
    let (one, other) = (user.create().await, user.create().await);
    assert_eq!((one.status, other.status), (201, 201), "{one:?} {other:?}");
    let id = id_of(&world, "alpha").await;

    execute(&world, id, StartDrain { deadline: in_seconds(600), retire: false }).await;
    for created in [&one, &other] {
        let stopped = wait_for(&user, created, "stopped").await;
        assert_eq!(stopped["stopReason"], "stopped because an administrator drains its backend", "{stopped}");
    }
    wait_until_ended(&world, id).await;
    let body = json!({ "instanceId": one.data()["instanceId"] });
    let refused = user.put(&format!("{INSTANCE}/resume"), body.clone()).await;
    assert_eq!((refused.status, refused.code()), (409, "backend_draining"), "{refused:?}");
    let create = user.create().await;
    assert_eq!(create.body["error"]["details"]["reasons"], json!({ "cordoned": 1 }), "{create:?}");

    execute(&world, id, CancelDrain).await;
    wait_until("the instance runs again", DEADLINE, async || {
        match user.put(&format!("{INSTANCE}/resume"), body.clone()).await {
            answer if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(wait_for(&user, &one, "running").await["stopReason"], Value::Null);
    world.verify().await;
    world.check_log().await;
}

/// A replica that does not know of the drain may accept a resume; the leader that began the drain may die.
#[tokio::test]
async fn drain_survives_a_new_leader_and_stops_what_is_resumed_meanwhile() {
    let mut world = World::start(2).await;
    let agent = world.add_agent("alpha", 5).await;
    let user = world.user("ada").await;
    let created = user.create().await;
    assert_eq!(created.status, 201, "{created:?}");
    let id = id_of(&world, "alpha").await;
    // The instance can't stop, so the drain is under way when the leader dies.
    world.kill_agent(agent).await;
    execute(&world, id, StartDrain { deadline: in_seconds(600), retire: false }).await;
    wait_for(&user, &created, "stopping").await;
    let leader = world.leader().await;
    world.kill_replica(leader).await;

    let resume = ChangeInstance {
        instance_id: created.data()["instanceId"].as_str().unwrap().parse().unwrap(),
        to: DesiredState::Running,
        now: in_seconds(0),
        policy: Policy::default(),
    };
    let owner = created.data()["userId"].as_str().unwrap().parse().unwrap();
    executor(&world).await.execute(owner, origin(), resume).await.unwrap();
    world.start_agent(agent, &[]);
    let user = user.at(&world.replicas[1 - leader].url);
    wait_for(&user, &created, "stopped").await;
    wait_until_ended(&world, id).await;
}

#[tokio::test]
async fn retired_backend_is_removed_when_its_last_instance_is_deleted() {
    let mut world = World::start(1).await;
    world.add_agent("alpha", 5).await;
    let user = world.user("ada").await;
    let created = user.create().await;
    assert_eq!(created.status, 201, "{created:?}");
    let id = id_of(&world, "alpha").await;
    execute(&world, id, StartDrain { deadline: in_seconds(600), retire: true }).await;
    wait_for(&user, &created, "stopped").await;
    wait_until_ended(&world, id).await;
    assert_eq!(world.client(0).get("/health").await.body["fleet"]["registered"], 1);

    let deleted = user.delete(INSTANCE, json!({ "instanceId": created.data()["instanceId"] })).await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    wait_until("the backend is removed", DEADLINE, async || {
        let health = world.client(0).get("/health").await;
        if health.body["fleet"]["registered"] == 0 { Ok(()) } else { Err(format!("{health:?}")) }
    })
    .await;
    world.verify().await;
    world.check_log().await;
}
