//! Nodes of the broker's cluster: without one of three writes go on, without two they are refused, and nothing that
//! was acknowledged is ever gone.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;
use tokio::time::{Duration, timeout};

use super::{ask, at_each, create_within, health_says, list_after, position};
use crate::harness::http::Client;
use crate::harness::log::stored;
use crate::harness::wait::DEADLINE;
use crate::harness::{Topology, World, wait_until};

/// What a request takes at most whose every question goes unanswered.
const BOUND: Duration = Duration::from_secs(45);

fn sequence(position: &str) -> u64 {
    position.rsplit('.').next().unwrap().parse().unwrap()
}

/// One write: a create that is only asked for. Returns its position if it was acknowledged, else what was said.
async fn write(client: &Client) -> Result<u64, String> {
    let body = Some(b"{}".to_vec());
    let headers = [("content-type", "application/json"), ("prefer", "respond-async")];
    let answer = timeout(BOUND, client.try_send(Method::POST, super::INSTANCE, &headers, body)).await;
    match answer.expect("a write hangs") {
        Ok(answer) if answer.status == 202 => Ok(sequence(position(&answer))),
        other => Err(format!("{other:?}")),
    }
}

/// Writes that go on, each tried until it is acknowledged.
async fn writes_go_on(ada: &[Client], count: usize, acknowledged: &mut BTreeSet<u64>) {
    for n in 0..count {
        let stored = wait_until("a write is stored", 2 * DEADLINE, async || write(&ada[n % ada.len()]).await).await;
        assert!(acknowledged.insert(stored), "{stored} twice");
    }
}

#[tokio::test]
async fn one_node_may_die_and_without_two_nothing_is_acknowledged() {
    let mut world = World::on(Topology::THREE, 3, &[]).await;
    world.add_agent("alpha", 1000).await;
    let ada = at_each(&world, "ada").await;
    let mut acknowledged = BTreeSet::new();
    writes_go_on(&ada, 12, &mut acknowledged).await;

    // The one that leads the log: the dearest to lose.
    let first = world.nats.leader_of("EVENTS").await;
    world.nats.kill_node(first).await;
    writes_go_on(&ada, 12, &mut acknowledged).await;

    let second = world.nats.leader_of("EVENTS").await;
    assert_ne!(second, first);
    world.nats.kill_node(second).await;
    for client in &ada {
        for _ in 0..2 {
            let refused = write(client).await.expect_err("acknowledged by one of three");
            assert!(refused.contains("status: 503"), "{refused}");
        }
        health_says(client, &["broker"]).await;
    }

    world.nats.restart_node(first).await;
    world.nats.restart_node(second).await;
    for client in &ada {
        create_within(client, "writes go on", 3 * DEADLINE).await;
        health_says(client, &[]).await;
    }
    writes_go_on(&ada, 3, &mut acknowledged).await;
    let sequences: BTreeSet<u64> = stored(&world.nats).await.iter().map(|event| event.sequence).collect();
    let lost: Vec<_> = acknowledged.difference(&sequences).collect();
    assert!(lost.is_empty(), "acknowledged and gone: {lost:?}");
    // Not only their places: the instances that they asked for.
    let last = ask(&ada[0]).await;
    let list = list_after(&ada[1], position(&last)).await;
    assert!(list.data().as_array().unwrap().len() > acknowledged.len(), "{list:?}");
    world.verify().await;
    world.check_log().await;
}

/// A node that hangs is not known to be dead, and its clients notice late: nothing is lost meanwhile, or done twice.
#[tokio::test]
async fn a_node_that_hangs_is_left_behind() {
    let mut world = World::on(Topology::THREE, 3, &[]).await;
    world.add_agent("alpha", 1000).await;
    let ada = at_each(&world, "ada").await;
    let mut acknowledged = BTreeSet::new();
    writes_go_on(&ada, 6, &mut acknowledged).await;
    let leader = world.nats.leader_of("EVENTS").await;
    world.nats.pause_node(leader).await;
    writes_go_on(&ada, 12, &mut acknowledged).await;
    world.nats.resume_node(leader).await;
    writes_go_on(&ada, 6, &mut acknowledged).await;
    for client in &ada {
        health_says(client, &[]).await;
    }
    let sequences: BTreeSet<u64> = stored(&world.nats).await.iter().map(|event| event.sequence).collect();
    assert!(acknowledged.is_subset(&sequences), "acknowledged and gone");
    world.verify().await;
    world.check_log().await;
}

/// Replicas and cluster are started at once, as after a power cut.
#[tokio::test]
async fn a_server_that_is_earlier_than_its_cluster_waits_for_it() {
    let mut world = World::on(Topology::THREE, 0, &[]).await;
    for node in 0..3 {
        world.nats.kill_node(node).await;
    }
    let log = world.data.path().join("early.log");
    let mut early = world.server("serve", log.clone()).start().unwrap();
    let said = async |what: &str| {
        wait_until(what, 3 * DEADLINE, async || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if text.contains(what) { Ok(()) } else { Err(text) }
        })
        .await;
    };
    said("the broker is not there yet").await;
    world.nats.restart_node(0).await;
    said("waiting for the broker's streams").await;
    early.check().unwrap();
    world.nats.restart_node(1).await;
    world.nats.restart_node(2).await;
    said("the API is at ").await;
    let broker = world.nats.main().await;
    let stream = broker.jetstream().get_stream("EVENTS").await.unwrap();
    assert_eq!(stream.cached_info().config.num_replicas, 3);
    let signed_up = world.add_replica().await;
    assert_eq!(world.client(signed_up).sign_up("ada").await.data()["user"]["username"], json!("ada"));
}
