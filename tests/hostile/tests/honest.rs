//! The limits of what a backend may send, for an honest one that is as busy as it gets.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use dockhost_harness::World;
use dockhost_harness::http::{Answer, Client};
use futures::StreamExt;
use futures::future::join_all;
use serde_json::json;

/// Instances that change at once.
const INSTANCES: u32 = 40;

/// Messages of agents by kind and second.
type Counts = Arc<Mutex<BTreeMap<(&'static str, u64), usize>>>;

/// Counts what agents send from now on.
async fn count_messages(world: &World) -> Counts {
    let (counts, start) = (Counts::default(), Instant::now());
    let client = world.nats.main().await.client().clone();
    for kind in ["hello", "confirm", "heartbeat", "report"] {
        let mut messages = client.subscribe(format!("dockhost.{kind}.*")).await.unwrap();
        let counts = Arc::clone(&counts);
        tokio::spawn(async move {
            while messages.next().await.is_some() {
                *counts.lock().unwrap().entry((kind, start.elapsed().as_secs())).or_default() += 1;
            }
        });
    }
    client.flush().await.unwrap();
    counts
}

/// The answers to a command for each of these instances, all sent at once.
async fn for_each(instances: &[String], send: impl AsyncFn(serde_json::Value) -> Answer) -> Vec<Answer> {
    join_all(instances.iter().map(|id| send(json!({ "instanceId": id })))).await
}

async fn change_all(user: &Client, instances: &[String]) {
    const PATH: &str = "/api/v2/user/instance";
    for what in ["stop", "resume"] {
        let path = format!("{PATH}/{what}");
        for answer in for_each(instances, async |body| user.put(&path, body).await).await {
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    for answer in for_each(instances, async |body| user.delete(PATH, body).await).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_honest_machine_meets_no_limit() {
    let mut world = World::start(2).await;
    let agent = world.add_agent("busy", INSTANCES).await;
    let counts = count_messages(&world).await;
    let user = world.user("ada").await;
    let mut instances = Vec::new();
    for answer in join_all((0..INSTANCES).map(|_| user.create())).await {
        assert_eq!(answer.status, 201, "{answer:?}");
        instances.push(answer.data()["instanceId"].as_str().unwrap().to_owned());
    }
    // It says hello again, gets all assignments and reports all containers.
    world.kill_agent(agent).await;
    world.start_agent(agent, &[]);
    change_all(&user, &instances).await;
    for replica in 0..2 {
        let health = world.client(replica).get("/health").await.body;
        let found = (&health["fleet"]["refused"], &health["fleet"]["droppedMessages"]);
        assert_eq!(found, (&json!(0), &json!(0)), "{health}");
    }
    let mut busiest: BTreeMap<&str, usize> = BTreeMap::new();
    for ((kind, _), count) in counts.lock().unwrap().iter() {
        let most = busiest.entry(kind).or_default();
        *most = (*most).max(*count);
    }
    println!("messages in the busiest second: {busiest:?}");
    assert_eq!(busiest.len(), 4, "each kind was sent: {busiest:?}");
}
