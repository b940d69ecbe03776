//! Nodes of the broker's cluster: writes continue without one of three and are refused without two; no acknowledged
//! write is lost.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;
use tokio::time::{Duration, timeout};

use super::{client_per_replica, create_async, create_within, list_after, position, wait_for_health};
use crate::harness::http::Client;
use crate::harness::log::stored;
use crate::harness::wait::DEADLINE;
use crate::harness::{Topology, World, wait_until};

/// The longest that a request takes if the broker answers nothing.
const REQUEST_DEADLINE: Duration = Duration::from_secs(45);

fn sequence(position: &str) -> u64 {
    position.rsplit('.').next().unwrap().parse().unwrap()
}

/// Requests one instance; returns the position if the write was acknowledged, else the answer.
async fn write(client: &Client) -> Result<u64, String> {
    let body = Some(b"{}".to_vec());
    let headers = [("content-type", "application/json"), ("prefer", "respond-async")];
    let answer = timeout(REQUEST_DEADLINE, client.try_send(Method::POST, super::INSTANCE, &headers, body)).await;
    match answer.expect("a write hangs") {
        Ok(answer) if answer.status == 202 => Ok(sequence(position(&answer))),
        other => Err(format!("{other:?}")),
    }
}

/// Writes `count` times, each until it is acknowledged.
async fn write_until_acknowledged(ada: &[Client], count: usize, acknowledged: &mut BTreeSet<u64>) {
    for n in 0..count {
        let stored =
            wait_until("a write is acknowledged", 2 * DEADLINE, async || write(&ada[n % ada.len()]).await).await;
        assert!(acknowledged.insert(stored), "{stored} acknowledged twice");
    }
}

#[tokio::test]
async fn nodes_one_lost_writes_continue_two_lost_writes_are_refused() {
    let mut world = World::on(Topology::THREE, 3, &[]).await;
    world.add_agent("alpha", 1000).await;
    let ada = client_per_replica(&world, "ada").await;
    let mut acknowledged = BTreeSet::new();
    write_until_acknowledged(&ada, 12, &mut acknowledged).await;

    // The node that leads the stream EVENTS.
    let first = world.nats.leader_of("EVENTS").await;
    world.nats.kill_node(first).await;
    write_until_acknowledged(&ada, 12, &mut acknowledged).await;

    let second = world.nats.leader_of("EVENTS").await;
    assert_ne!(second, first);
    world.nats.kill_node(second).await;
    for client in &ada {
        for _ in 0..2 {
            let refused = write(client).await.expect_err("acknowledged by one of three");
            assert!(refused.contains("status: 503"), "{refused}");
        }
        wait_for_health(client, &["broker"]).await;
    }

    world.nats.restart_node(first).await;
    world.nats.restart_node(second).await;
    for client in &ada {
        create_within(client, "writes succeed again", 3 * DEADLINE).await;
        wait_for_health(client, &[]).await;
    }
    write_until_acknowledged(&ada, 3, &mut acknowledged).await;
    let sequences: BTreeSet<u64> = stored(&world.nats).await.iter().map(|event| event.sequence).collect();
    let lost: Vec<_> = acknowledged.difference(&sequences).collect();
    assert!(lost.is_empty(), "acknowledged but lost: {lost:?}");
    // The read model has the requested instances too.
    let last = create_async(&ada[0]).await;
    let list = list_after(&ada[1], position(&last)).await;
    assert!(list.data().as_array().unwrap().len() > acknowledged.len(), "{list:?}");
    world.verify().await;
    world.check_log().await;
}

/// Clients notice a hanging node late; no write is lost or repeated meanwhile.
#[tokio::test]
async fn nodes_paused_leader_loses_no_write() {
    let mut world = World::on(Topology::THREE, 3, &[]).await;
    world.add_agent("alpha", 1000).await;
    let ada = client_per_replica(&world, "ada").await;
    let mut acknowledged = BTreeSet::new();
    write_until_acknowledged(&ada, 6, &mut acknowledged).await;
    let leader = world.nats.leader_of("EVENTS").await;
    world.nats.pause_node(leader).await;
    write_until_acknowledged(&ada, 12, &mut acknowledged).await;
    world.nats.resume_node(leader).await;
    write_until_acknowledged(&ada, 6, &mut acknowledged).await;
    for client in &ada {
        wait_for_health(client, &[]).await;
    }
    let sequences: BTreeSet<u64> = stored(&world.nats).await.iter().map(|event| event.sequence).collect();
    assert!(acknowledged.is_subset(&sequences), "acknowledged but lost");
    world.verify().await;
    world.check_log().await;
}

/// Replica and cluster start at the same time, as after a power cut.
#[tokio::test]
async fn server_started_before_its_cluster_waits() {
    let mut world = World::on(Topology::THREE, 0, &[]).await;
    for node in 0..3 {
        world.nats.kill_node(node).await;
    }
    let log = world.data.path().join("early.log");
    let mut early = world.server("serve", log.clone()).start().unwrap();
    let wait_for_log = async |what: &str| {
        wait_until(what, 3 * DEADLINE, async || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if text.contains(what) { Ok(()) } else { Err(text) }
        })
        .await;
    };
    wait_for_log("waiting for the broker error=").await;
    world.nats.restart_node(0).await;
    wait_for_log("waiting for the broker's streams").await;
    early.check().unwrap();
    world.nats.restart_node(1).await;
    world.nats.restart_node(2).await;
    wait_for_log("the API is at ").await;
    let broker = world.nats.main().await;
    let stream = broker.jetstream().get_stream("EVENTS").await.unwrap();
    assert_eq!(stream.cached_info().config.num_replicas, 3);
    let signed_up = world.add_replica().await;
    assert_eq!(world.client(signed_up).sign_up("ada").await.data()["user"]["username"], json!("ada"));
}
