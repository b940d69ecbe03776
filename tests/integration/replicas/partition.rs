//! A broker node that is cut off from the other two, with a replica on each side.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{INSTANCE, client_per_replica, create_within, is_refusal};
use crate::harness::http::{Answer, Client};
use crate::harness::topology::{Members, Nodes};
use crate::harness::wait::DEADLINE;
use crate::harness::{Topology, World, wait_until};

const PARTITIONED: Topology = Topology { broker: Nodes::ThreeProxiedRoutes, database: Members::Shared, proxied: true };
/// A deposed leader answers reads for about 10 s.
const PARTITION: Duration = Duration::from_secs(16);
/// A replica without a quorum answers in about 3 s, on a machine that is not busy.
const ANSWER_DEADLINE: Duration = Duration::from_secs(8);

/// Restricts a replica to some nodes of the broker.
fn restrict(world: &World, replica: usize, to: impl Fn(usize) -> bool) {
    for (node, proxy) in world.replicas[replica].proxies.broker.iter().enumerate() {
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

/// Sends a request again until it is acknowledged with this status.
async fn acknowledged(what: &str, status: u16, request: impl AsyncFn() -> Answer) {
    wait_until(what, 2 * DEADLINE, async || {
        let answer = request().await;
        if answer.status == status { Ok(()) } else { Err(format!("{answer:?}")) }
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

    let leader = world.nats.leader_of("EVENTS").await;
    restrict(&world, 0, |node| node != leader);
    restrict(&world, 1, |node| node == leader);
    for client in [majority, minority] {
        acknowledged("a no-op is answered", 200, async || change(client, "stop", &instance).await).await;
        wait_until_well(client).await;
    }

    world.nats.isolate_silently(leader);
    let isolated = Instant::now();
    acknowledged("the majority resumes", 202, async || change(majority, "resume", &instance).await).await;
    let name = json!({ "name": "late" });
    let headers = [("prefer", "respond-async")];
    let create = async || majority.json(Method::POST, INSTANCE, &headers, name.clone()).await;
    acknowledged("the majority creates", 202, create).await;
    assert_eq!(majority.sign_up("eve").await.status, 201);
    let (late, unknown) = (json!("late"), "/api/v2/operations/0193b3a0-0000-7000-8000-000000000001");
    loop {
        let signin = json!({ "username": "eve", "password": "correct horse" });
        tokio::join!(
            assert_refused("is already stopped", change(minority, "stop", &instance)),
            assert_refused("there is no such instance", change(minority, "stop", &late)),
            assert_refused("wrong name or password", minority.post("/api/v2/user/signin", signin)),
            assert_refused("no such operation", minority.get(unknown)),
        );
        if isolated.elapsed() > PARTITION {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }

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
