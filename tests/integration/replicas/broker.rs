//! Without the broker, writes are refused and reads continue.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::{INSTANCE, client_per_replica, create_within, is_refusal, on_both, wait_for_health};
use crate::harness::http::Client;
use crate::harness::wait::DEADLINE;
use crate::harness::{Proxy, Topology, World, wait_until};

/// The longest that a request takes if the broker answers nothing.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// Requests in a row that would take longer than [`REQUEST_DEADLINE`] if each waited for the broker.
const REFUSED_IN_A_ROW: usize = 20;

on_both!(broker_down_reads_continue_and_writes_are_refused);

async fn broker_down_reads_continue_and_writes_are_refused(topology: Topology) {
    let mut world = World::on(topology, 3, &[]).await;
    world.add_agent("alpha", 50).await;
    let ada = client_per_replica(&world, "ada").await;
    assert_eq!(ada[0].create().await.status, 201);
    let before = ada[0].get(INSTANCE).await;
    for client in &ada {
        assert_eq!(client.get(INSTANCE).await.data(), before.data());
    }

    world.nats.kill().await;
    for client in &ada {
        wait_until("a write is refused", DEADLINE, async || {
            let refused = client.create().await;
            if is_refusal(&refused, "broker_unavailable") { Ok(()) } else { Err(format!("{refused:?}")) }
        })
        .await;
        assert_refused_without_waiting(client).await;
        let list = client.get(INSTANCE).await;
        assert_eq!((list.status, list.data()), (200, before.data()), "{list:?}");
        wait_for_health(client, &["broker"]).await;
        let health = client.get("/health").await;
        assert_eq!((&health.body["broker"], &health.body["database"]), (&json!("disconnected"), &json!("connected")));
    }

    world.nats.restart().await;
    for client in &ada {
        create_within(client, "writes succeed again", 2 * DEADLINE).await;
        wait_for_health(client, &[]).await;
    }
    world.verify().await;
    world.check_log().await;
}

async fn assert_refused_without_waiting(client: &Client) {
    let requests = async {
        for _ in 0..REFUSED_IN_A_ROW {
            let refused = client.create().await;
            assert!(is_refusal(&refused, "broker_unavailable"), "{refused:?}");
        }
    };
    timeout(REQUEST_DEADLINE, requests).await.expect("refusals wait for the broker");
}

/// The connection stays open but transfers nothing: every request is answered, and a refused one has no effect.
#[tokio::test]
async fn broker_link_half_open_requests_are_refused_in_time() {
    let mut world = World::on(Topology::ONE.proxied(), 3, &[]).await;
    let alpha = world.add_agent("alpha", 50).await;
    let ada = client_per_replica(&world, "ada").await;
    assert_eq!(ada[0].create().await.status, 201);
    let before = ada[0].get(INSTANCE).await;
    for client in &ada {
        assert_eq!(client.get(INSTANCE).await.data(), before.data());
    }
    // Only one replica is affected.
    let victim = (world.leader().await + 1) % 3;
    let proxy = &world.replicas[victim].proxies.broker[0];
    proxy.half_open();
    let signin = json!({ "username": "ada", "password": "correct horse" });
    let anonymous = world.client(victim);
    let requests = async || {
        let (created, signed_in) = tokio::join!(
            timeout(REQUEST_DEADLINE, ada[victim].create()),
            timeout(REQUEST_DEADLINE, anonymous.post("/api/v2/user/signin", signin.clone())),
        );
        for answer in [created.expect("no answer to a create"), signed_in.expect("no answer to a sign-in")] {
            let refused = is_refusal(&answer, "broker_unavailable") || is_refusal(&answer, "outcome_unknown");
            assert!(refused, "{answer:?}");
        }
    };
    requests().await;
    assert!(proxy.lost_bytes() > 0, "no traffic was lost");
    let list = ada[victim].get(INSTANCE).await;
    assert_eq!((list.status, list.data()), (200, before.data()), "{list:?}");
    wait_for_health(&ada[victim], &["broker"]).await;
    // Once the client has noticed, requests are refused immediately.
    wait_until("writes are refused", DEADLINE, async || {
        let refused = ada[victim].create().await;
        if is_refusal(&refused, "broker_unavailable") { Ok(()) } else { Err(format!("{refused:?}")) }
    })
    .await;
    requests().await;
    create_within(&ada[(victim + 1) % 3], "another replica creates", DEADLINE).await;

    world.replicas[victim].proxies.broker.iter().for_each(Proxy::heal);
    create_within(&ada[victim], "writes succeed again", DEADLINE).await;
    wait_for_health(&ada[victim], &[]).await;
    let list = wait_until("all instances run", DEADLINE, async || {
        let list = ada[victim].get(INSTANCE).await;
        let all = list.data().as_array().cloned().unwrap_or_default();
        let run = all.iter().all(|instance| instance["status"] == "running");
        if run { Ok(all.len()) } else { Err(format!("{list:?}")) }
    })
    .await;
    assert_eq!(world.containers(alpha).ever.len(), list, "each container was created once");
    world.verify().await;
    world.check_log().await;
}
