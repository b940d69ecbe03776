//! Creates at once on all replicas: machines are filled, and never promised more than they have.

use futures::future::join_all;
use serde_json::{Value, json};

use super::INSTANCE;
use crate::harness::http::{Answer, Client};
use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

/// How many creates at once, on machines with memory for how many instances each.
struct Scale {
    creates: usize,
    per_machine: usize,
}

const MEMORY_MIB: usize = 512;

#[tokio::test]
async fn parallel_creates_on_all_replicas_fill_the_machines_and_promise_no_more_than_they_have() {
    fill(Scale { creates: 24, per_machine: 4 }).await;
}

/// 200 creates at once for 90 places.
#[tokio::test]
#[ignore = "takes a minute: make room"]
async fn parallel_creates_full_scale_promise_no_more_than_the_machines_have() {
    fill(Scale { creates: 200, per_machine: 30 }).await;
}

async fn create(client: &Client) -> Answer {
    client.post(INSTANCE, json!({ "memoryMib": MEMORY_MIB, "cpu": 0.5 })).await
}

/// Deletes what was requested and then refused by all machines.
async fn delete_failed(client: &Client) {
    let listed = client.get(INSTANCE).await;
    let failed = |instance: &&Value| instance["status"] == "failed";
    for instance in listed.data().as_array().unwrap().iter().filter(failed) {
        let deleted = client.delete(INSTANCE, json!({ "instanceId": instance["instanceId"] })).await;
        assert_eq!(deleted.status, 200, "{deleted:?}");
    }
}

async fn fill(scale: Scale) {
    let mut world = World::start(3).await;
    let room = scale.per_machine * MEMORY_MIB;
    let memory = (room + MEMORY_MIB / 2).to_string();
    for name in ["alpha", "beta", "gamma"] {
        world.add_agent_with(name, 1000, &[("DOCKHOST_MEMORY_MIB", &memory), ("DOCKHOST_CPU_MILLIS", "64000")]).await;
    }
    let (places, users) = (3 * scale.per_machine, 8);
    let users = join_all((0..users).map(async |n| world.user(&format!("user-{n}")).await)).await;
    let urls: Vec<&str> = world.replicas.iter().map(|replica| replica.url.as_str()).collect();
    let at = |n: usize| users[n % users.len()].at(urls[n % urls.len()]);
    let answers = join_all((0..scale.creates).map(async |n| create(&at(n)).await)).await;
    for answer in &answers {
        let expected = [(201, ""), (202, ""), (503, "no_capacity"), (503, "operation_failed"), (503, "busy")];
        assert!(expected.contains(&(answer.status, answer.code())), "{answer:?}");
    }
    // What the race has left over is filled by creates one after the other.
    wait_until("all machines are full", DEADLINE, async || {
        join_all(users.iter().map(delete_failed)).await;
        let answer = create(&at(0)).await;
        let is_full =
            answer.code() == "no_capacity" && answer.body["error"]["details"]["reasons"] == json!({ "memory": 3 });
        if is_full { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    let containers: Vec<_> = (0..3).map(|agent| world.containers(agent)).collect();
    for (agent, containers) in containers.iter().enumerate() {
        let log = || world.agent_log(agent);
        assert!(containers.most_memory_mib <= room as u64, "{containers:?}\n{}", log());
        assert_eq!(containers.now.len(), scale.per_machine, "{containers:?}\n{}", log());
    }
    let mut running = 0;
    for user in &users {
        let listed = user.get(INSTANCE).await;
        running += listed.data().as_array().unwrap().iter().filter(|instance| instance["status"] == "running").count();
    }
    assert_eq!(running, places);
    // A freed place can be had again.
    let listed = users[0].get(INSTANCE).await;
    let id = listed.data()[0]["instanceId"].clone();
    assert_eq!(users[0].delete(INSTANCE, json!({ "instanceId": id })).await.status, 200);
    wait_until("the freed place can be had", DEADLINE, async || match create(&at(1)).await {
        Answer { status: 201, .. } => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    world.check_log().await;
}
