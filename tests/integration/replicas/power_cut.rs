//! A power cut of the whole cluster: streams whose copies may never be led again are made again, without an operator.

use std::time::Duration;

use dockhost::broker::streams::{ASSIGNMENTS, EVENTS, REPORTS};
use serde_json::json;

use super::{create_within, wait_for_health};
use crate::harness::topology::{Members, Nodes};
use crate::harness::wait::DEADLINE;
use crate::harness::{Topology, World, log, wait_until};

/// The patience of the stream watch, and what follows.
const REPAIR_DEADLINE: Duration = Duration::from_secs(120);

const BROKER_OF_THREE: Topology = Topology { broker: Nodes::Three, database: Members::Shared, proxied: false };

/// Whether the stream exists, and no node leads it.
async fn is_leaderless(world: &World, stream: &str) -> Result<(), String> {
    let broker = world.nats.main().await;
    let found = broker.jetstream().get_stream(stream).await.map_err(|error| error.to_string())?;
    let cluster = found.cached_info().cluster.clone().unwrap();
    if cluster.leader.is_none() { Ok(()) } else { Err(format!("{cluster:?}")) }
}

#[tokio::test]
async fn power_cut_streams_that_never_have_a_leader_again_are_made_again() {
    let mut world = World::on(BROKER_OF_THREE, 2, &[]).await;
    world.add_agent("alpha", 10).await;
    let ada = world.user("ada").await;
    create_within(&ada, "an instance runs", DEADLINE).await;
    let before = world.nats.main().await.jetstream().get_stream(EVENTS).await.unwrap().cached_info().created;

    // Reports wait while the nodes agree on the state of their streams.
    for replica in 0..2 {
        world.kill_replica(replica).await;
    }
    let client = world.nats.main().await.client().clone();
    for _ in 0..20 {
        client.request("dockhost.report.nobody", "{}".into()).await.unwrap();
    }
    for node in 0..3 {
        world.nats.stop_node(node).await;
        world.nats.restart_node(node).await;
        world.nats.leader_of(REPORTS).await;
    }
    for node in 0..3 {
        world.nats.stop_node(node).await;
    }
    world.nats.lose_messages_of(REPORTS);
    world.nats.lose_messages_of(ASSIGNMENTS);
    world.nats.restart().await;
    world.nats.leader_of(EVENTS).await;
    for stream in [REPORTS, ASSIGNMENTS] {
        wait_until("the stream has no leader", DEADLINE, async || is_leaderless(&world, stream).await).await;
    }

    // One of the streams is needed to start.
    for replica in 0..2 {
        world.restart_replica(replica).await;
    }
    let ada = ada.at(&world.replicas[0].url);
    create_within(&ada, "an instance runs without an operator", REPAIR_DEADLINE).await;
    for stream in [REPORTS, ASSIGNMENTS] {
        assert!(is_leaderless(&world, stream).await.is_err(), "{stream}");
    }
    let after = world.nats.main().await.jetstream().get_stream(EVENTS).await.unwrap().cached_info().created;
    assert_eq!(before, after, "the log was touched");
    let logs: String = world.replicas.iter().map(|replica| std::fs::read_to_string(&replica.log).unwrap()).collect();
    assert!(logs.contains("a stream of the broker has no leader, although the event log has one"), "{logs}");
    let mut problems = Vec::new();
    for replica in 0..2 {
        problems.push(world.client(replica).get("/health").await.body["problems"].to_string());
    }
    assert!(problems.concat().contains("was made again"), "{problems:?}");
    // Both instances have their containers. One whose create failed before the repair may have had one, which is gone.
    let containers = world.containers(0);
    let stored = log::stored(&world.nats).await;
    let requested = stored.iter().filter(|event| event.kind == "dockhost.instance.requested.v1").count();
    assert_eq!(containers.now.len(), 2, "{containers:?}");
    assert!(containers.ever.len() <= requested, "{requested} instances were requested: {containers:?}");
    for replica in 0..2 {
        wait_for_health(&world.client(replica), &[]).await;
    }
    let health = world.client(0).get("/health").await;
    assert_eq!(health.body["down"], json!([]), "{health:?}");
    world.verify().await;
    world.check_log().await;
}
