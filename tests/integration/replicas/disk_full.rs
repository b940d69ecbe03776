//! A full disk of the broker: `/health` says what is so, and what to do.

use std::time::Duration;

use dockhost::broker::streams::REPORTS;
use reqwest::Method;
use serde_json::json;

use super::{INSTANCE, create_async, create_within, wait_for_health};
use crate::harness::http::Client;
use crate::harness::wait::DEADLINE;
use crate::harness::{Hosts, Nats, World, wait_until};

const REPORT_DEADLINE: Duration = Duration::from_secs(60);

/// When the stream was made, by what the broker says.
async fn reports_created(world: &World) -> String {
    try_reports_created(world).await.unwrap()
}

/// The same, or why the broker doesn't say it: the stream is just being made again.
async fn try_reports_created(world: &World) -> Result<String, String> {
    let stream = world.nats.main().await.jetstream().get_stream(REPORTS).await.map_err(|error| error.to_string())?;
    Ok(stream.cached_info().created.to_string())
}

/// Whether the broker's nodes can't have disks of their own here; then the test is left out.
fn lacks_disks(hosts: &Hosts) -> bool {
    let missing = hosts.missing().disks.as_ref();
    missing.inspect(|why| println!("left out, because no disk of its own can be mounted here: {why}")).is_some()
}

/// A replica and a backend upon this broker, and a user who has an instance that runs.
async fn start(nats: Nats) -> (World, Client) {
    let mut world = World::upon(nats, 1, &[]).await;
    world.add_agent("alpha", 100).await;
    let ada = world.user("ada").await;
    create_within(&ada, "an instance runs", DEADLINE).await;
    (world, ada)
}

#[tokio::test(flavor = "multi_thread")]
async fn disk_of_the_only_node_full_health_is_503_until_the_broker_is_restarted() {
    let hosts = Hosts::prepare();
    if lacks_disks(&hosts) {
        return;
    }
    let (mut world, ada) = start(Nats::start_on(Some(&hosts)).await).await;
    wait_for_health(&ada, &[]).await;
    world.nats.store(0).disk.as_ref().unwrap().fill();
    wait_until("a command fails, and /health says why", REPORT_DEADLINE, async || {
        let body = Some(b"{}".to_vec());
        let headers = [("content-type", "application/json"), ("prefer", "respond-async")];
        let answer = ada.try_send(Method::POST, INSTANCE, &headers, body).await;
        let health = ada.get("/health").await;
        let down = &health.body["down"];
        if health.status == 503 && *down == json!(["writes"]) { Ok(()) } else { Err(format!("{answer:?} {health:?}")) }
    })
    .await;
    let health = ada.get("/health").await.body;
    assert!(health["problems"].to_string().contains("restart nats-server"), "{health}");
    // Reads go on.
    assert_eq!(ada.get(INSTANCE).await.status, 200);
    world.nats.store(0).disk.as_ref().unwrap().free();
    world.nats.restart().await;
    create_within(&ada, "an instance runs after the restart", REPORT_DEADLINE).await;
    wait_for_health(&ada, &[]).await;
    let log = std::fs::read_to_string(&world.replicas[0].log).unwrap();
    assert!(log.contains("the broker acknowledges no writes") && log.contains("the broker stores again"), "{log}");
    world.verify().await;
    world.check_log().await;
}

/// The node leads REPORTS and its consumer; nats-server does not disable the node, and the consumer delivers nothing.
#[tokio::test(flavor = "multi_thread")]
async fn copy_of_reports_that_takes_nothing_more_operations_go_on_and_health_names_the_node() {
    const NODE: usize = 2;
    let hosts = Hosts::prepare();
    if lacks_disks(&hosts) {
        return;
    }
    let (world, ada) = start(Nats::cluster_on(Some(&hosts)).await).await;
    let made = reports_created(&world).await;
    world.nats.lead_consumer_by(REPORTS, "intake", NODE).await;
    world.nats.lead_by(REPORTS, NODE).await;
    world.nats.break_copy(NODE, REPORTS);
    for _ in 0..5 {
        create_async(&ada).await;
    }
    wait_until("/health names the node", 2 * REPORT_DEADLINE, async || {
        let health = ada.get("/health").await;
        let problems = health.body["problems"].to_string();
        let is_told = problems.contains("node dockhost-2") && problems.contains("REPORTS");
        if is_told { Ok(()) } else { Err(format!("{health:?}")) }
    })
    .await;
    for _ in 0..3 {
        create_within(&ada, "an instance runs although the copy is broken", REPORT_DEADLINE).await;
    }
    assert_eq!(made, reports_created(&world).await, "the stream was made again");
    assert_ne!(world.nats.leader_of(REPORTS).await, NODE, "the node still leads the stream");
}

/// The copies elect no leader that stores, so moving the leader does not help.
#[tokio::test(flavor = "multi_thread")]
async fn copies_that_all_take_nothing_more_stream_is_made_again() {
    let hosts = Hosts::prepare();
    if lacks_disks(&hosts) {
        return;
    }
    let (world, ada) = start(Nats::cluster_on(Some(&hosts)).await).await;
    let made = reports_created(&world).await;
    (0..3).for_each(|node| world.nats.break_copy(node, REPORTS));
    for _ in 0..5 {
        create_async(&ada).await;
    }
    wait_until("the stream is made again", 3 * REPORT_DEADLINE, async || {
        let now = try_reports_created(&world).await?;
        if now == made { Err(format!("made at {now}")) } else { Ok(()) }
    })
    .await;
    create_within(&ada, "an instance runs", 2 * REPORT_DEADLINE).await;
    let log = std::fs::read_to_string(&world.replicas[0].log).unwrap();
    assert!(log.contains("deleting it and making it again"), "{log}");
    world.verify().await;
    world.check_log().await;
}

/// Mostly nats-server disables the JetStream of that node, and it stays so although there is room again. Otherwise some of
/// the node's copies take nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn disk_of_one_node_of_three_full_operations_go_on_and_health_names_the_node() {
    let hosts = Hosts::prepare();
    if lacks_disks(&hosts) {
        return;
    }
    let (mut world, ada) = start(Nats::cluster_on(Some(&hosts)).await).await;
    world.nats.store(2).disk.as_ref().unwrap().fill();
    let mut written = 0;
    let health = wait_until("/health is degraded", 2 * REPORT_DEADLINE, async || {
        // The node notices its full disk by what it has to write. Not more than the backend has room for.
        let headers = [("content-type", "application/json"), ("prefer", "respond-async")];
        let mut created = None;
        if written < 50 {
            created = Some(ada.try_send(Method::POST, INSTANCE, &headers, Some(b"{}".into())).await);
            written += 1;
        }
        let health = ada.get("/health").await;
        let is_told = health.body["problems"].to_string().contains("node dockhost-2 of the broker");
        if is_told && health.body["status"] == "degraded" { Ok(health) } else { Err(format!("{created:?} {health:?}")) }
    })
    .await;
    assert_eq!(health.status, 200, "{health:?}");
    for _ in 0..3 {
        create_within(&ada, "an instance runs on the other two nodes", REPORT_DEADLINE).await;
    }
    let is_disabled = health.body["problems"].to_string().contains("keeps no copy");
    println!("the node's JetStream is disabled: {is_disabled}");
    world.nats.store(2).disk.as_ref().unwrap().free();
    if is_disabled {
        // A server that starts then does not blame the node's setting.
        let started = world.add_replica().await;
        let log = world.replicas[started].log.clone();
        wait_until("the server names the node", DEADLINE, async || {
            let text = std::fs::read_to_string(&log).unwrap();
            let mut lines = text.lines();
            let is_named = lines.any(|line| line.contains("have JetStream disabled") && line.contains("dockhost-2"));
            if is_named { Ok(()) } else { Err(text) }
        })
        .await;
        assert!(!std::fs::read_to_string(&log).unwrap().contains("acknowledges writes before it syncs them"));
    }
    world.nats.restart_node(2).await;
    wait_until("/health is well again", REPORT_DEADLINE, async || {
        let health = ada.get("/health").await;
        if health.body["status"] == "healthy" { Ok(()) } else { Err(format!("{health:?}")) }
    })
    .await;
    world.verify().await;
}
