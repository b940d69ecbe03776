//! Instances with `onLost: recreate` on a lost machine and on a drained one.

use std::sync::Arc;

use dockhost::broker::streams::EVENTS;
use dockhost::common::clock;
use dockhost::execute::Executor;
use dockhost_domain::backend::StartDrain;
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::tenancy::Tenancy;
use reqwest::Method;
use serde_json::{Value, json};

use super::{INSTANCE, id_of};
use crate::harness::http::{Answer, Client};
use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

async fn create(user: &Client, on_lost: &str) -> Answer {
    let created = user.post(INSTANCE, json!({ "onLost": on_lost })).await;
    assert_eq!((created.status, &created.data()["onLost"]), (201, &json!(on_lost)), "{created:?}");
    created
}

/// How many events the broker waits for the reaction to a loss to acknowledge.
async fn unacknowledged_losses(world: &World) -> usize {
    let broker = world.nats.main().await;
    let events = broker.jetstream().get_stream(EVENTS).await.unwrap();
    events.consumer_info("backend-lost").await.unwrap().num_ack_pending
}

/// Waits until the instance runs on another backend; returns it.
async fn wait_until_moved(user: &Client, created: &Answer) -> Value {
    let path = format!("{INSTANCE}/{}", created.data()["instanceId"].as_str().unwrap());
    wait_until("the instance runs on another backend", DEADLINE, async || {
        let answer = user.get(&path).await;
        let data = answer.data();
        let is_moved = data["status"] == "running" && data["lastMove"]["from"] == created.data()["backendId"];
        if is_moved { Ok(data.clone()) } else { Err(format!("{answer:?}")) }
    })
    .await
}

#[tokio::test]
async fn instance_on_a_machine_that_is_lost_for_long_is_created_again_and_the_old_container_is_removed() {
    let settings = [("DOCKHOST_LOST_AFTER_MS", "7000"), ("DOCKHOST_RECREATE_AFTER_MS", "2000")];
    let mut world = World::with(1, &settings).await;
    let first = world.add_agent("alpha", 5).await;
    let user = world.user("ada").await;
    let (moving, waiting) = (create(&user, "recreate").await, create(&user, "wait").await);
    let (stopped, changed) = (create(&user, "recreate").await, create(&user, "wait").await);
    let stop = json!({ "instanceId": stopped.data()["instanceId"] });
    assert_eq!(user.put(&format!("{INSTANCE}/stop"), stop).await.data()["status"], "stopped");
    let second = world.add_agent("beta", 5).await;
    world.kill_agent(first).await;
    world.wait_for_backend("alpha", "lost").await;
    let moved = wait_until_moved(&user, &moving).await;
    let reason = "created again without its files, because its backend was lost";
    assert_eq!((&moved["backend"]["name"], &moved["lastMove"]["reason"]), (&json!("beta"), &json!(reason)));
    assert_eq!(world.containers(second).now.len(), 1);
    // The one that is stopped stays there, perhaps for weeks, and no event waits for that.
    wait_until("the loss is acknowledged", DEADLINE, async || match unacknowledged_losses(&world).await {
        0 => Ok(()),
        pending => Err(format!("{pending} events are not acknowledged")),
    })
    .await;
    // What its owner chooses after the loss counts as well.
    let path = format!("{INSTANCE}/{}", changed.data()["instanceId"].as_str().unwrap());
    let change = user.json(Method::PATCH, &path, &[], json!({ "onLost": "recreate" })).await;
    assert_eq!(change.status, 200, "{change:?}");
    wait_until_moved(&user, &changed).await;
    let path = format!("{INSTANCE}/{}", waiting.data()["instanceId"].as_str().unwrap());
    assert_eq!(user.get(&path).await.data()["status"], "unreachable");

    world.start_agent(first, &[]);
    wait_until("the old container is removed, and that is recorded", DEADLINE, async || {
        let executor = Executor::new(Arc::new(world.nats.log().await));
        let owner = moving.data()["userId"].as_str().unwrap().parse().unwrap();
        let tenancy = executor.confirmed::<Tenancy>(owner).await.unwrap();
        let instance = tenancy.state.instance(moving.data()["instanceId"].as_str().unwrap().parse().unwrap()).unwrap();
        let containers = world.containers(first).now.len();
        let is_over = containers == 2 && instance.pending_removals.is_empty();
        if is_over { Ok(()) } else { Err(format!("{containers} containers, {instance:?}")) }
    })
    .await;
    wait_until("the one that waits runs again", DEADLINE, async || {
        let answer = user.get(&path).await;
        if answer.data()["status"] == "running" { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    world.verify().await;
    world.check_log().await;
}

#[tokio::test]
async fn drain_moves_what_is_not_to_wait_and_stops_the_rest() {
    let mut world = World::start(1).await;
    let first = world.add_agent("alpha", 5).await;
    let user = world.user("ada").await;
    let (moving, waiting) = (create(&user, "recreate").await, create(&user, "wait").await);
    world.add_agent("beta", 5).await;
    let id = id_of(&world, "alpha").await;
    let executor = Executor::new(Arc::new(world.nats.log().await));
    let origin = Origin::new(Actor::Operator, "test");
    let deadline = clock::now().after(std::time::Duration::from_secs(600));
    executor.execute(id, origin, StartDrain { deadline, retire: false }).await.unwrap();
    let moved = wait_until_moved(&user, &moving).await;
    let reason = "created again without its files, because an administrator drains its backend";
    assert_eq!((&moved["backend"]["name"], &moved["lastMove"]["reason"]), (&json!("beta"), &json!(reason)));
    super::wait_for(&user, &waiting, "stopped").await;
    wait_until("only the stopped container is left", DEADLINE, async || {
        let containers = world.containers(first);
        if containers.now.len() == 1 { Ok(()) } else { Err(format!("{containers:?}")) }
    })
    .await;
    world.verify().await;
}
