//! Two machines with one API key and the same disk: only one of their agents acts, and no instance fails.

use std::collections::BTreeMap;

use std::time::Duration;

use async_nats::{ConnectOptions, HeaderMap};
use dockhost_domain::ids::BackendId;
use dockhost_domain::subject::Channel;
use dockhost_domain::wire::AGENT_RUN_HEADER;

use super::*;

const REFUSED: &str = "this agent does nothing, because another agent with the same API key is";
/// Heartbeats come every 5 s, so this is about the shortest value that works.
const LOST_AFTER: (&str, &str) = ("DOCKHOST_LOST_AFTER_MS", "8000");
const ACCEPTED: &str = "accepted by the server";

/// Waits until an agent's log has this many lines with a text.
async fn wait_for_lines(world: &World, agent: usize, text: &str, count: usize) {
    wait_until(&format!("agent {agent} has logged {count} times: {text}"), DEADLINE, async || {
        let log = world.agent_log(agent);
        let found = log.lines().filter(|line| line.contains(text)).count();
        if found == count { Ok(()) } else { Err(format!("{found} times\n{log}")) }
    })
    .await;
}

async fn events(world: &World) -> BTreeMap<String, usize> {
    world.events_on("dockhost.event.tenancy.*").await
}

async fn status(client: &Client) -> String {
    client.get(INSTANCE).await.data()[0]["status"].as_str().unwrap_or_default().to_owned()
}

async fn wait_until_running(client: &Client) {
    wait_until("the instance is running", DEADLINE, async || match status(client).await.as_str() {
        "running" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
}

#[tokio::test]
async fn second_agent_with_one_key_waits_until_the_first_is_gone() {
    let mut world = World::with(2, &[LOST_AFTER]).await;
    let first = world.add_agent("machine", 4).await;
    let user = world.user("ada").await;
    assert_eq!(user.create().await.status, 201);
    let before = events(&world).await;

    let second = world.clone_machine(first, "clone");
    world.start_agent(second, &[]);
    wait_for_lines(&world, second, REFUSED, 1).await;
    let backend = world.backend("machine").await;
    wait_until("a replica shows the second agent", DEADLINE, async || {
        for replica in &world.replicas {
            let answer = backend.at(&replica.url).get("/api/v2/backend").await;
            if answer.data()["messagesOfOtherAgents"]["requests"].as_u64() >= Some(2) {
                return Ok(());
            }
        }
        Err("none does")
    })
    .await;
    assert_eq!(status(&user).await, "running");
    assert_eq!((world.containers(first).now.len(), world.containers(second).now.len()), (1, 1));

    // The second machine has the same container, so the instance lives on there.
    world.kill_agent(first).await;
    wait_for_lines(&world, second, ACCEPTED, 1).await;
    wait_until_running(&user).await;
    assert_eq!(events(&world).await, before, "something was recorded about the instance");

    // Now the first one waits, and takes over while the second is paused.
    world.start_agent(first, &[]);
    wait_for_lines(&world, first, REFUSED, 1).await;
    world.pause_agent(second).await;
    wait_for_lines(&world, first, ACCEPTED, 2).await;
    world.resume_agent(second).await;
    wait_for_lines(&world, second, REFUSED, 2).await;
    wait_until_running(&user).await;
    assert_eq!(events(&world).await, before, "something was recorded about the instance");

    // Each of the two has its container still; only the holder stops its own.
    assert_eq!((world.containers(first).now.len(), world.containers(second).now.len()), (1, 1));
    let id = user.get(INSTANCE).await.data()[0]["instanceId"].clone();
    let deleted = user.delete(INSTANCE, json!({ "instanceId": id })).await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    assert_eq!((world.containers(first).now.len(), world.containers(second).now.len()), (0, 1));
}

#[tokio::test]
async fn agent_that_ends_in_order_is_replaced_at_once() {
    let mut world = World::start(1).await;
    let machine = world.add_agent("machine", 4).await;
    let user = world.user("ada").await;
    assert_eq!(user.create().await.status, 201);
    wait_for_lines(&world, machine, ACCEPTED, 1).await;
    world.stop_agent(machine).await;
    world.start_agent(machine, &[]);
    wait_for_lines(&world, machine, ACCEPTED, 2).await;
    // A refusal would be logged before.
    wait_for_lines(&world, machine, REFUSED, 0).await;
    wait_until_running(&user).await;
}

#[tokio::test]
async fn messages_of_another_run_are_ignored_and_counted() {
    let mut world = World::start(1).await;
    let machine = world.add_agent("machine", 4).await;
    let user = world.user("ada").await;
    let created = user.create().await;
    let before = events(&world).await;
    let backend = world.backend("machine").await;
    let id: BackendId = backend.get("/api/v2/backend").await.data()["id"].as_str().unwrap().parse().unwrap();

    let options = ConnectOptions::with_token(world.agents[machine].key.clone());
    let client = options.custom_inbox_prefix(format!("_INBOX.{id}")).connect(world.nats.url()).await.unwrap();
    let run = "00000000-0000-4000-8000-000000000002";
    let heartbeat = json!({
        "address": "192.0.2.9", "containers": 0, "maxContainers": 3000, "runtime": "docker", "agentVersion": "0.1.0",
        "load": 0.0, "memory": 0.0, "at": "2026-11-22T10:00:15.000Z", "agentRun": run,
    });
    client.publish(Channel::Heartbeat(id).to_string(), heartbeat.to_string().into()).await.unwrap();
    let report = json!({
        "instanceId": created.data()["instanceId"], "userId": created.data()["userId"], "placement": 1,
        "generation": 1, "type": "instance-failed", "code": "container_gone", "message": "it is not on this machine",
    });
    let mut headers = HeaderMap::new();
    headers.insert(AGENT_RUN_HEADER, run);
    client.request_with_headers(Channel::Report(id).to_string(), headers, report.to_string().into()).await.unwrap();
    let confirm = json!({
        "instanceId": created.data()["instanceId"], "placement": 1, "generation": 1, "agentRun": run,
    });
    wait_until("the confirm is refused", DEADLINE, async || {
        let refused = client.request(Channel::Confirm(id).to_string(), confirm.to_string().into()).await.unwrap();
        let code = refused.headers.unwrap().get("Nats-Service-Error-Code").unwrap().to_string();
        // Until the holder may be asked for again.
        if code == "409" {
            return Ok(());
        }
        // As an agent does, so that the limit of confirms is not reached.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Err(code)
    })
    .await;

    let shown = wait_until("all messages are counted", DEADLINE, async || {
        let shown = backend.get("/api/v2/backend").await.data().clone();
        let counted = &shown["messagesOfOtherAgents"];
        let all = ["heartbeats", "reports", "requests"].iter().all(|kind| counted[kind] == 1);
        if all { Ok(shown.clone()) } else { Err(shown.to_string()) }
    })
    .await;
    assert_eq!(shown["address"], "127.0.0.1");
    assert_eq!(status(&user).await, "running");
    assert_eq!(events(&world).await, before);
}
