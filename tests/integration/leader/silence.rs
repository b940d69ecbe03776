//! Machines that stop sending heartbeats get nothing new, however many they are.

use async_nats::ConnectOptions;
use dockhost_domain::subject::Channel;
use serde_json::{Value, json};

use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

/// Heartbeats come every 5 s, so this is about the shortest value that works.
const LOST_AFTER: (&str, &str) = ("DOCKHOST_LOST_AFTER_MS", "7000");

/// Registers a backend that sends one heartbeat and disconnects.
async fn add_ghost(world: &mut World, name: &str) {
    let index = world.register(name, 3000).await;
    let id = world.backend(name).await.get("/api/v2/backend").await.data()["id"].as_str().unwrap().to_owned();
    let options = ConnectOptions::with_token(world.agents[index].key.clone());
    let client = options.custom_inbox_prefix(format!("_INBOX.{id}")).connect(world.nats.url()).await.unwrap();
    let heartbeat = json!({
        "address": "192.0.2.9", "containers": 0, "maxContainers": 3000, "runtime": "docker", "agentVersion": "0.1.0",
        "load": 0.0, "memory": 0.0, "at": "2026-11-22T10:00:15.000Z",
    });
    let subject = Channel::Heartbeat(id.parse().unwrap()).to_string();
    client.publish(subject, heartbeat.to_string().into()).await.unwrap();
    client.flush().await.unwrap();
    world.wait_for_backend(name, "connected").await;
}

/// Waits until `/health` shows this many connected backends; returns its `fleet`.
async fn wait_for_connected(world: &World, count: usize) -> Value {
    wait_until(&format!("{count} backends are connected"), DEADLINE, async || {
        let health = world.client(0).get("/health").await.body;
        if health["backends"] == count { Ok(health["fleet"].clone()) } else { Err(health.to_string()) }
    })
    .await
}

#[tokio::test]
async fn backends_with_one_heartbeat_get_no_instances_and_raise_no_alarm() {
    let mut world = World::with(1, &[LOST_AFTER]).await;
    world.add_agent("honest", 5).await;
    for n in 0..10 {
        add_ghost(&mut world, &format!("ghost-{n}")).await;
    }
    let health = wait_for_connected(&world, 1).await;
    assert_eq!((&health["registered"], &health["massFailure"]), (&json!(11), &json!(false)), "{health}");
    let ada = world.user("ada").await;
    for _ in 0..3 {
        let created = ada.create().await;
        assert_eq!((created.status, &created.data()["backend"]["name"]), (201, &json!("honest")), "{created:?}");
    }
    world.wait_for_backend("ghost-0", "lost").await;
}

#[tokio::test]
async fn machines_that_die_together_get_no_instances_while_the_alarm_keeps_theirs() {
    // Twice the interval of heartbeats, so that those who are a little late are told from those that died together.
    let lost_after = ("DOCKHOST_LOST_AFTER_MS", "12000");
    let mut world = World::with(1, &[lost_after, ("DOCKHOST_CREATE_WITHIN_MS", "60000")]).await;
    let mut agents = Vec::new();
    for n in 0..4 {
        agents.push(world.add_agent(&format!("machine-{n}"), 20).await);
    }
    let ada = world.user("ada").await;
    // Each gets one, because the emptiest is chosen.
    for _ in 0..4 {
        assert_eq!(ada.create().await.status, 201);
    }
    for agent in &agents[..3] {
        world.kill_agent(*agent).await;
    }
    let health = wait_for_connected(&world, 1).await;
    assert_eq!(health["massFailure"], true, "{health}");
    assert_eq!(health["problems"], json!([{ "reason": "its agent sends no heartbeats", "count": 3 }]));
    for _ in 0..3 {
        let created = ada.create().await;
        assert_eq!((created.status, &created.data()["backend"]["name"]), (201, &json!("machine-3")), "{created:?}");
    }
    let listed = ada.get("/api/v2/user/instance").await;
    let status_on = |name: &str| {
        let instances = listed.data().as_array().unwrap().iter();
        let here = instances.filter(|instance| instance["backend"]["name"] == name);
        here.map(|instance| instance["status"].clone()).collect::<Vec<_>>()
    };
    for dead in ["machine-0", "machine-1", "machine-2"] {
        assert_eq!(status_on(dead), ["unreachable"], "{listed:?}");
    }
    assert_eq!(status_on("machine-3"), ["running"; 4], "{listed:?}");

    for agent in &agents[..3] {
        world.start_agent(*agent, &[]);
    }
    let health = wait_for_connected(&world, 4).await;
    assert_eq!((&health["massFailure"], &health["problems"]), (&json!(false), &json!([])), "{health}");
    world.verify().await;
}

#[tokio::test]
async fn machine_that_a_restarted_replica_has_not_heard_gets_no_instances() {
    let mut world = World::start(1).await;
    let gone = world.add_agent("gone", 20).await;
    world.add_agent("here", 20).await;
    let ada = world.user("ada").await;
    world.kill_agent(gone).await;
    world.restart_replica(0).await;
    for _ in 0..3 {
        let created = ada.create().await;
        assert_eq!((created.status, &created.data()["backend"]["name"]), (201, &json!("here")), "{created:?}");
    }
}
