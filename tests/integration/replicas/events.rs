//! Event streams: whoever watches is told of each change once, whichever replica tells it.

use std::time::Duration;

use dockhost::dev::process::Signal;
use serde_json::{Value, json};

use super::{INSTANCE, client_per_replica, create_async, on_both};
use crate::harness::events::{EventStream, Message, sequence};
use crate::harness::http::{Answer, Client};
use crate::harness::wait::DEADLINE;
use crate::harness::{ADMIN, Topology, World, log, wait_until};

const EVENTS: &str = "/api/v2/user/events";
const ALL_EVENTS: &str = "/api/v2/admin/events";

on_both!(stream_resumed_after_a_kill_has_no_gap_and_no_repeat);

fn shows(message: &Message, status: &str) -> bool {
    message.name == "instance-updated" && message.data["instance"]["status"] == status
}

fn is_ready(message: &Message) -> bool {
    message.name == "ready"
}

/// The sequences of what happened: not of `ready`.
fn sequences(messages: &[Message]) -> Vec<u64> {
    messages.iter().filter(|message| message.name.ends_with("-updated")).map(Message::sequence).collect()
}

/// The sequences of all events about a user, as the broker stores them.
async fn logged(world: &World, user: &str) -> Vec<u64> {
    let stored = log::stored(&world.nats).await;
    stored.iter().filter(|event| event.subject.ends_with(user)).map(|event| event.sequence).collect()
}

async fn id_of(client: &Client) -> String {
    let me = client.get("/api/v2/user/me").await;
    me.data()["id"].as_str().unwrap_or_else(|| panic!("{me:?}")).to_owned()
}

fn position_in(answer: &Answer) -> u64 {
    answer.header("dockhost-position").and_then(sequence).unwrap_or_else(|| panic!("{answer:?}"))
}

#[tokio::test]
async fn stream_change_can_be_queried_on_every_replica_when_it_arrives() {
    let mut world = World::start(3).await;
    world.add_agent("alpha", 10).await;
    let ada = client_per_replica(&world, "ada").await;
    let mut streams = Vec::new();
    for client in &ada {
        let mut stream = EventStream::open(client, EVENTS, None).await;
        stream.until(is_ready).await;
        streams.push(stream);
    }
    let created = create_async(&ada[0]).await;
    let path = format!("{INSTANCE}/{}", created.data()["instanceId"].as_str().unwrap());
    for stream in &mut streams {
        loop {
            let message = stream.next().await.unwrap();
            // The sign-ins may arrive as well; another read model has them.
            if message.name != "instance-updated" {
                continue;
            }
            for client in &ada {
                let shown = client.get(&path).await;
                assert_eq!(shown.status, 200, "{message:?}: {shown:?}");
                assert!(position_in(&shown) >= message.sequence(), "{message:?}: {shown:?}");
                // Another event may have followed between the two.
                for member in ["instanceId", "name", "backendId", "sshDetails"] {
                    if shows(&message, "running") {
                        assert_eq!(shown.data()[member], message.data["instance"][member], "{message:?}: {shown:?}");
                    }
                }
            }
            if shows(&message, "running") {
                break;
            }
        }
    }
}

/// Changes an instance again and again.
async fn change(client: &Client, rounds: usize) {
    for round in 0..rounds {
        let created = create_async(client).await;
        let id = json!({ "instanceId": created.data()["instanceId"] });
        let stopped = client.put(&format!("{INSTANCE}/stop"), id.clone()).await;
        assert!([200, 202].contains(&stopped.status), "round {round}: {stopped:?}");
        let deleted = client.delete(INSTANCE, id).await;
        assert!([200, 202].contains(&deleted.status), "round {round}: {deleted:?}");
    }
}

async fn stream_resumed_after_a_kill_has_no_gap_and_no_repeat(topology: Topology) {
    let mut world = World::on(topology, 3, &[]).await;
    world.add_agent("alpha", 50).await;
    let (ada, eve) = (client_per_replica(&world, "ada").await, client_per_replica(&world, "eve").await);
    let user = id_of(&ada[0]).await;
    let mut stream = EventStream::open(&ada[0], EVENTS, None).await;
    let mut messages = stream.until(is_ready).await;
    let first = messages.last().unwrap().sequence();
    let changes = tokio::spawn({
        let (ada, eve) = (ada[2].clone(), eve[2].clone());
        async move { tokio::join!(change(&ada, 6), change(&eve, 6)) }
    });
    // Messages have the state of now, which passes `running` quickly.
    messages.extend(stream.until(|message| message.name == "instance-updated").await);
    world.kill_replica(0).await;
    // What it had sent still arrives.
    while let Some(message) = stream.next().await {
        messages.push(message);
    }
    let mut stream = EventStream::open(&ada[1], EVENTS, stream.last_id()).await;
    messages.extend(stream.until(|message| shows(message, "deleted")).await);
    let last_id = stream.last_id().unwrap().to_owned();
    drop(stream);
    changes.await.unwrap();
    // It has just started: what was missed is in the log only.
    world.restart_replica(0).await;
    let restarted = ada[0].at(&world.replicas[0].url);
    let mut stream = EventStream::open(&restarted, EVENTS, Some(&last_id)).await;
    messages.extend(stream.until(is_ready).await);
    change(&ada[1], 1).await;
    messages.extend(stream.until(|message| shows(message, "deleted")).await);

    let seen = sequences(&messages);
    let last = *seen.last().unwrap();
    let expected: Vec<_> =
        logged(&world, &user).await.into_iter().filter(|at| (first + 1..=last).contains(at)).collect();
    assert_eq!(seen, expected);
    assert!(seen.len() > 30, "too few events: {seen:?}");
    world.verify().await;
    world.check_log().await;
}

#[tokio::test]
async fn stream_from_the_beginning_has_the_whole_log_of_its_user() {
    let mut world = World::with(1, &ADMIN).await;
    world.add_agent("alpha", 10).await;
    let (ada, eve) = (world.user("ada").await, world.user("eve").await);
    change(&ada, 2).await;
    change(&eve, 2).await;
    world.restart_replica(0).await;
    let url = &world.replicas[0].url;
    let (ada, admin) = (ada.at(url), world.admin().await);
    let list = ada.get(INSTANCE).await;
    let (incarnation, _) = list.header("dockhost-position").unwrap().rsplit_once('.').unwrap();
    let beginning = format!("{incarnation}.0");
    let mut stream = EventStream::open(&ada, EVENTS, Some(&beginning)).await;
    let seen = sequences(&stream.until(is_ready).await);
    assert_eq!(seen, logged(&world, &id_of(&ada).await).await);
    let mut stream = EventStream::open(&admin, ALL_EVENTS, Some(&beginning)).await;
    let seen = sequences(&stream.until(is_ready).await);
    let whole: Vec<_> = log::stored(&world.nats).await.iter().map(|event| event.sequence).collect();
    assert_eq!(seen, whole[..seen.len()]);
    assert!(seen.len() + 5 > whole.len(), "{} of {}", seen.len(), whole.len());
}

#[tokio::test]
async fn stream_ends_when_its_user_signs_out_on_another_replica() {
    let world = World::start(2).await;
    let ada = client_per_replica(&world, "ada").await;
    let mut stream = EventStream::open(&ada[0], EVENTS, None).await;
    stream.until(is_ready).await;
    let answer = ada[1].post("/api/v2/user/signout", json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let ended = async { while stream.next().await.is_some() {} };
    // The limit that queries have, too, and some time for a busy machine.
    tokio::time::timeout(Duration::from_secs(3), ended).await.expect("the stream goes on without a session");
    let refused = ada[0].open(EVENTS, &[]).await.unwrap();
    assert_eq!(refused.status(), 401);
}

#[tokio::test]
async fn sigterm_ends_streams_and_does_not_wait_for_them() {
    let mut world = World::start(2).await;
    world.add_agent("alpha", 10).await;
    let ada = client_per_replica(&world, "ada").await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        let mut stream = EventStream::open(&ada[0], EVENTS, None).await;
        stream.until(is_ready).await;
        streams.push(stream);
    }
    let mut lines = ada[0].open(EVENTS, &[("accept", "application/x-ndjson")]).await.unwrap();
    let mut process = world.replicas[0].process.take().unwrap();
    process.signal(Signal::Term).await.unwrap();
    let mut last_id = None;
    for stream in &mut streams {
        let end = stream.until(|message| message.name == "end").await.pop().unwrap();
        assert_eq!((end.id, end.data), (None, json!({ "reason": "shutdown" })));
        assert_eq!(stream.next().await, None);
        last_id = stream.last_id().map(str::to_owned);
    }
    let mut text = Vec::new();
    while let Some(chunk) = lines.chunk().await.unwrap() {
        text.extend_from_slice(&chunk);
    }
    let lines: Vec<Value> =
        String::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last().map(|line| &line["event"]), Some(&json!("end")), "{lines:?}");
    let status = process.wait().await.unwrap();
    assert!(status.success(), "{status}");
    let log = std::fs::read_to_string(&world.replicas[0].log).unwrap();
    assert!(!log.contains("did not end in time"), "the shutdown waited for streams");
    // The other replica goes on after them.
    let mut stream = EventStream::open(&ada[1], EVENTS, last_id.as_deref()).await;
    create_async(&ada[1]).await;
    stream.until(|message| shows(message, "running")).await;
}

#[tokio::test]
async fn stream_goes_on_after_the_broker_was_away() {
    let mut world = World::start(1).await;
    world.add_agent("alpha", 10).await;
    let ada = world.user("ada").await;
    let mut stream = EventStream::open(&ada, EVENTS, None).await;
    stream.until(is_ready).await;
    world.nats.restart().await;
    let created = wait_until("an instance is requested", DEADLINE, async || {
        let answer = ada.json(reqwest::Method::POST, INSTANCE, &[("prefer", "respond-async")], json!({})).await;
        if answer.status == 202 { Ok(answer) } else { Err(format!("{answer:?}")) }
    })
    .await;
    let seen = stream.until(|message| shows(message, "running")).await;
    assert_eq!(seen.last().unwrap().data["instance"]["instanceId"], created.data()["instanceId"]);
}
