//! The broker delivers nothing more to a role of the leader or to an agent, though it sends heartbeats. A pause of the
//! consumer looks from outside like a consumer that stands still.

use dockhost::broker::streams::incarnation::StreamIncarnation;
use dockhost::broker::streams::{ASSIGNMENTS, EVENTS};
use dockhost::leader::dispatcher::consumer_name;
use dockhost_domain::ids::BackendId;
use futures::TryStreamExt;
use reqwest::Method;
use serde_json::json;
use time::macros::datetime;

use super::INSTANCE;
use crate::harness::http::{Answer, Client};
use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

#[tokio::test]
async fn dispatcher_whose_consumer_delivers_nothing_takes_it_over() {
    let mut world = World::start(1).await;
    world.add_agent("alpha", 10).await;
    let ada = world.user("ada").await;
    let js = world.nats.main().await.jetstream().clone();
    let dispatcher = consumer_name(StreamIncarnation::read(&js, ASSIGNMENTS).await.unwrap());
    let events = js.get_stream(EVENTS).await.unwrap();
    events.pause_consumer(&dispatcher, datetime!(2100-01-01 0:00 UTC)).await.unwrap();
    created_instance_runs(&ada).await;
    world.verify().await;
}

#[tokio::test]
async fn agent_whose_consumer_delivers_nothing_gets_another_one() {
    let mut world = World::start(1).await;
    world.add_agent("alpha", 10).await;
    let ada = world.user("ada").await;
    let js = world.nats.main().await.jetstream().clone();
    let assignments = js.get_stream(ASSIGNMENTS).await.unwrap();
    let consumers: Vec<_> = assignments.consumer_names().try_collect().await.unwrap();
    // The sweep has some with other names.
    let of_agent = consumers.iter().find(|name| name.parse::<BackendId>().is_ok()).unwrap();
    assignments.pause_consumer(of_agent, datetime!(2100-01-01 0:00 UTC)).await.unwrap();
    created_instance_runs(&ada).await;
    world.verify().await;
}

async fn wait_for_health(world: &World, status: &str) -> Answer {
    let what = format!("/health is {status}");
    let answer = wait_until(&what, 2 * DEADLINE, async || {
        let health = world.client(0).get("/health").await;
        if health.body["status"] == status { Ok(health) } else { Err(format!("{health:?}")) }
    });
    answer.await
}

#[tokio::test]
async fn machine_that_is_heard_and_carries_out_nothing_makes_health_degraded() {
    let mut world = World::start(1).await;
    let slow = [("DOCKHOST_SIMULATE_DELAY_MS", "12000")];
    world.add_agent_with("alpha", 10, &slow).await;
    let ada = world.user("ada").await;
    wait_for_health(&world, "healthy").await;
    let created = ada.json(Method::POST, INSTANCE, &[("prefer", "respond-async")], json!({})).await;
    assert_eq!(created.status, 202, "{created:?}");
    let health = wait_for_health(&world, "degraded").await;
    assert_eq!(health.status, 200, "requests are served");
    let problem = health.body["problems"][0].as_str().unwrap();
    assert!(problem.starts_with("1 machine has carried out commands late"), "{health:?}");
    wait_for_health(&world, "healthy").await;
    world.verify().await;
}

async fn created_instance_runs(ada: &Client) {
    let created = ada.json(Method::POST, INSTANCE, &[("prefer", "respond-async")], json!({})).await;
    assert_eq!(created.status, 202, "{created:?}");
    let path = format!("{INSTANCE}/{}", created.data()["instanceId"].as_str().unwrap());
    wait_until("the instance runs", DEADLINE, async || {
        let found = ada.get(&path).await;
        if found.data()["status"] == "running" { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}
