//! A broker node that is cut off from the other two, with a replica on each side.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{INSTANCE, client_per_replica, create_within, is_refusal};
use crate::harness::http::{Answer, Client};
use crate::harness::topology::{Members, Nodes, Proxies};
use crate::harness::wait::DEADLINE;
use crate::harness::{Topology, World, wait_until};

const PARTITIONED: Topology = Topology { broker: Nodes::ThreeProxiedRoutes, database: Members::Shared, proxied: true };
/// A deposed leader answers reads for about 10 s.
const PARTITION: Duration = Duration::from_secs(16);
/// A replica without a quorum answers in about 3 s, on a machine that is not busy.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// The lease lasts 5 s, and its stream has another leader within 9 s; mostly another replica leads after about 5 s.
const TAKEOVER_DEADLINE: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(50);
const UNKNOWN_OPERATION: &str = "/api/v2/operations/0193b3a0-0000-7000-8000-000000000001";

/// Restricts a replica or an agent to some nodes of the broker.
fn restrict(proxies: &Proxies, to: impl Fn(usize) -> bool) {
    for (node, proxy) in proxies.broker.iter().enumerate() {
        if !to(node) {
            proxy.cut();
        }
    }
}

async fn wait_until_well(client: &Client) {
    wait_until("the replica is well", 2 * DEADLINE, async || {
        let health = client.get("/health").await;
        if health.status == 200 { Ok(()) } else { Err(format!("{health:?}")) }
    })
    .await;
}

async fn change(client: &Client, path: &str, instance: &Value) -> Answer {
    let path = format!("{INSTANCE}/{path}");
    client.json(Method::PUT, &path, &[("prefer", "respond-async")], json!({ "instanceId": instance })).await
}

/// Sends a request again until it is acknowledged with this status, or is a conflict with itself: an attempt without an
/// answer may have been stored.
async fn acknowledged(what: &str, status: u16, request: impl AsyncFn() -> Answer) {
    wait_until(what, 2 * DEADLINE, async || {
        let answer = request().await;
        if [status, 409].contains(&answer.status) { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

/// What the other side has acknowledged makes each of these answers wrong, so it is refused.
async fn assert_refused(what: &str, request: impl Future<Output = Answer>) {
    let answer = timeout(ANSWER_DEADLINE, request).await.unwrap_or_else(|_| panic!("{what}: no answer"));
    let refused = is_refusal(&answer, "broker_unavailable") || is_refusal(&answer, "outcome_unknown");
    assert!(refused, "{what}: {answer:?}");
}

#[tokio::test]
async fn partition_verdict_of_the_minority_side_is_never_wrong() {
    let mut world = World::on(PARTITIONED, 2, &[]).await;
    world.add_agent("alpha", 50).await;
    let clients = client_per_replica(&world, "ada").await;
    let (majority, minority) = (&clients[0], &clients[1]);
    let created = majority.create().await;
    assert_eq!(created.status, 201, "{created:?}");
    let instance = created.data()["instanceId"].clone();
    let stopped = majority.put(&format!("{INSTANCE}/stop"), json!({ "instanceId": instance })).await;
    assert_eq!(stopped.status, 200, "{stopped:?}");

    let leader = world.nats.lead_by_meta_leader("EVENTS").await;
    restrict(&world.replicas[0].proxies, |node| node != leader);
    restrict(&world.replicas[1].proxies, |node| node == leader);
    for client in [majority, minority] {
        acknowledged("a no-op is answered", 200, async || change(client, "stop", &instance).await).await;
        wait_until_well(client).await;
    }

    world.nats.isolate_silently(leader);
    let isolated = Instant::now();
    let headers = [("prefer", "respond-async")];
    let resumed = async {
        acknowledged("the majority resumes", 202, async || change(majority, "resume", &instance).await).await;
        while isolated.elapsed() < PARTITION {
            assert_refused("is already stopped", change(minority, "stop", &instance)).await;
            sleep(PAUSE).await;
        }
    };
    let (name, late) = (json!({ "name": "late" }), json!("late"));
    let created = async {
        let create = async || majority.json(Method::POST, INSTANCE, &headers, name.clone()).await;
        acknowledged("the majority creates", 202, create).await;
        while isolated.elapsed() < PARTITION {
            assert_refused("there is no such instance", change(minority, "stop", &late)).await;
            assert_refused("no such operation", minority.get(UNKNOWN_OPERATION)).await;
            sleep(PAUSE).await;
        }
    };
    let eve = json!({ "username": "eve", "password": "correct horse" });
    let signed_up = async {
        acknowledged("the majority signs up", 201, async || majority.sign_up("eve").await).await;
        while isolated.elapsed() < PARTITION {
            assert_refused("wrong name or password", minority.post("/api/v2/user/signin", eve.clone())).await;
            sleep(PAUSE).await;
        }
    };
    tokio::join!(resumed, created, signed_up);
    assert!(world.nats.is_cut_off(leader).await, "the node was not isolated");

    world.nats.rejoin(leader);
    world.replicas.iter().for_each(|replica| replica.proxies.heal());
    for client in &clients {
        create_within(client, "writes succeed again", 3 * DEADLINE).await;
        wait_until_well(client).await;
    }
    acknowledged("a stop takes effect", 200, async || {
        minority.put(&format!("{INSTANCE}/stop"), json!({ "instanceId": instance })).await
    })
    .await;
    world.verify().await;
    world.check_log().await;
}

#[tokio::test]
async fn isolated_node_is_left_by_replicas_and_agents() {
    let mut world = World::on(PARTITIONED, 2, &[]).await;
    world.add_agent("alpha", 50).await;
    let clients = client_per_replica(&world, "ada").await;
    for client in &clients {
        create_within(client, "the system works", DEADLINE).await;
    }
    // All are on the node that is isolated, and can reach the others again.
    let node = world.nats.leader_of("EVENTS").await;
    for replica in 0..2 {
        restrict(&world.replicas[replica].proxies, |other| other == node);
    }
    restrict(&world.agents[0].proxies, |other| other == node);
    for client in &clients {
        create_within(client, "the system works on one node", 2 * DEADLINE).await;
        wait_until_well(client).await;
    }
    world.replicas.iter().for_each(|replica| replica.proxies.heal());
    world.agents[0].proxies.heal();

    world.nats.isolate_silently(node);
    let isolated = Instant::now();
    let headers = [("prefer", "respond-async")];
    for client in &clients {
        let create = async || client.json(Method::POST, INSTANCE, &headers, json!({})).await;
        acknowledged("a write is stored", 202, create).await;
    }
    let stored_after = isolated.elapsed();
    // The agent must have left the node as well.
    create_within(&clients[0], "a create is carried out", 6 * DEADLINE).await;
    println!("writes after {stored_after:?}, carried out after {:?}", isolated.elapsed());
    assert!(world.nats.is_cut_off(node).await, "the node was not isolated");
}

/// The leader is connected to the node that is cut off, the other replicas and the agent to the other two.
#[tokio::test]
async fn isolated_leader_that_can_store_nothing_is_replaced_within_ten_seconds() {
    let mut world = World::on(PARTITIONED, 1, &[]).await;
    world.add_agent("alpha", 50).await;
    // It leads the lease's stream as well as the log: the others have to elect new leaders of both.
    let node = world.nats.lead_by_meta_leader("EVENTS").await;
    restrict(&world.replicas[0].proxies, |other| other == node);
    restrict(&world.agents[0].proxies, |other| other != node);
    for replica in 1..3 {
        assert_eq!(world.add_replica().await, replica);
        restrict(&world.replicas[replica].proxies, |other| other != node);
    }
    let clients = client_per_replica(&world, "ada").await;
    for client in &clients {
        create_within(client, "the system works", 2 * DEADLINE).await;
        wait_until_well(client).await;
    }
    assert_eq!(world.leader().await, 0);

    world.nats.isolate_silently(node);
    let isolated = Instant::now();
    wait_until("another replica leads", TAKEOVER_DEADLINE, async || {
        let leaders: Vec<usize> = (0..3).filter(|replica| world.replicas[*replica].leads()).collect();
        if leaders.iter().any(|leader| *leader != 0) { Ok(()) } else { Err(format!("{leaders:?}")) }
    })
    .await;
    let led_after = isolated.elapsed();
    for client in &clients[1..] {
        create_within(client, "a create is carried out", 3 * DEADLINE).await;
    }
    println!("another leads after {led_after:?}, carried out after {:?}", isolated.elapsed());
    wait_until("the isolated leader has stepped down", DEADLINE, async || {
        if world.replicas[0].leads() { Err("it still leads") } else { Ok(()) }
    })
    .await;
    assert!(world.nats.is_cut_off(node).await, "the node was not isolated");
    world.nats.rejoin(node);
    world.replicas.iter().for_each(|replica| replica.proxies.heal());
    wait_until("the node takes part again", 2 * DEADLINE, async || {
        if world.nats.is_cut_off(node).await { Err("it stores nothing") } else { Ok(()) }
    })
    .await;
    for client in &clients {
        create_within(client, "writes succeed again", 3 * DEADLINE).await;
        wait_until_well(client).await;
    }
    world.verify().await;
    world.check_log().await;
}
