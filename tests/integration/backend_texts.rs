//! What a hostile backend writes reaches neither users' shells nor the server's log, and what it says about a person is
//! sealed in the log.

use std::time::Instant;

use async_nats::{Client, ConnectOptions};
use dockhost::broker::streams::EVENTS;
use dockhost_domain::ids::BackendId;
use dockhost_domain::subject::Channel;
use dockhost_projections::store::MongoStore;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::http::SSH_KEY;
use crate::harness::wait::DEADLINE;
use crate::harness::{World, log, run, wait_until};

const INSTANCE: &str = "/api/v2/user/instance";
const BACKEND: &str = "/api/v2/backend";

/// A backend that sends what it likes.
struct Hostile {
    name: &'static str,
    id: BackendId,
    client: Client,
}

impl Hostile {
    async fn join(world: &mut World, name: &'static str) -> Self {
        let index = world.register(name, 5).await;
        let id: BackendId = {
            let answer = world.backend(name).await.get(BACKEND).await;
            answer.data()["id"].as_str().unwrap().parse().unwrap()
        };
        let client = ConnectOptions::with_token(world.agents[index].key.clone())
            .custom_inbox_prefix(format!("_INBOX.{id}"))
            .connect(world.nats.url())
            .await
            .unwrap();
        Self { name, id, client }
    }

    async fn publish(&self, channel: Channel, body: impl ToString) {
        self.client.publish(channel.to_string(), body.to_string().into()).await.unwrap();
    }

    async fn heartbeat(&self, address: &str) {
        let body = json!({
            "address": address, "containers": 0, "maxContainers": 5, "runtime": "docker", "agentVersion": "0.1.0",
            "load": 0.0, "memory": 0.0, "at": "2026-11-25T00:00:00.000Z",
        });
        self.publish(Channel::Heartbeat(self.id), body).await;
    }

    /// The error code of a request's reply.
    async fn request(&self, channel: Channel, body: impl ToString) -> String {
        let reply = self.client.request(channel.to_string(), body.to_string().into()).await.unwrap();
        reply.headers.and_then(|headers| Some(headers.get("Nats-Service-Error-Code")?.to_string())).unwrap_or_default()
    }
}

/// Waits until the backend's own view is as `is` says; returns it.
async fn wait_for_view(world: &World, backend: &Hostile, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let client = world.backend(backend.name).await;
    wait_until(what, DEADLINE, async || {
        let answer = client.get(BACKEND).await;
        if is(answer.data()) { Ok(answer.data().clone()) } else { Err(format!("{answer:?}")) }
    })
    .await
}

#[tokio::test]
async fn malformed_messages_leave_few_lines_and_no_text_in_the_log() {
    let started = Instant::now();
    let mut world = World::start(1).await;
    let hostile = Hostile::join(&mut world, "mallory").await;
    let forged = "x\n2026-11-25T00:00:00Z ERROR dockhost::auth: FORGED \u{1b}[31m";
    for _ in 0..50 {
        hostile.publish(Channel::Report(hostile.id), json!({ "type": forged })).await;
    }
    hostile.publish(Channel::Report(hostile.id), forged).await;
    hostile.heartbeat(forged).await;
    hostile.publish(Channel::Heartbeat(hostile.id), forged).await;
    assert_eq!(hostile.request(Channel::Hello(hostile.id), json!({ "agentVersion": forged })).await, "400");
    assert_eq!(hostile.request(Channel::Confirm(hostile.id), json!({ "instanceId": forged })).await, "400");

    let view = wait_for_view(&world, &hostile, "the messages are counted", |view| {
        let malformed = &view["malformedMessages"];
        let at_least = |member: &str, count: u64| malformed[member].as_u64().is_some_and(|found| found >= count);
        at_least("reports", 20) && at_least("heartbeats", 2) && at_least("requests", 2)
    })
    .await;
    assert_eq!(view["status"], "enrolled", "an invalid heartbeat connected the backend");

    let text = std::fs::read_to_string(&world.replicas[0].log).unwrap();
    assert!(!text.contains("FORGED") && !text.contains('\u{1b}'), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("dropped malformed messages")).collect();
    let most = 1 + started.elapsed().as_secs() / 10;
    assert!(!lines.is_empty() && lines.len() as u64 <= most, "{lines:#?}");
    assert!(lines.iter().all(|line| line.contains(&hostile.id.to_string())), "{lines:#?}");
}

#[tokio::test]
async fn heartbeat_with_a_shell_command_as_its_address_is_dropped() {
    let mut world = World::start(1).await;
    let hostile = Hostile::join(&mut world, "mallory").await;
    hostile.heartbeat("192.0.2.7").await;
    wait_for_view(&world, &hostile, "the backend is connected", |view| view["status"] == "connected").await;
    hostile.heartbeat("h -oProxyCommand='touch /tmp/PWNED'").await;
    let view = wait_for_view(&world, &hostile, "the heartbeat is counted", |view| {
        view["malformedMessages"]["heartbeats"] == 1
    })
    .await;
    assert_eq!(view["address"], "192.0.2.7");
}

/// The user reads the message; the log has it sealed, and once the user is erased nobody can read it.
#[tokio::test]
async fn failure_message_is_sealed_in_the_log_and_unreadable_after_the_erasure() {
    const CANARY: &str = "canary-trouble-of-ada-lovelace";
    let mut world = World::with(1, &[("DOCKHOST_DELETE_WITHIN_MS", "1000")]).await;
    let hostile = Hostile::join(&mut world, "mallory").await;
    hostile.heartbeat("192.0.2.7").await;
    wait_for_view(&world, &hostile, "the backend is connected", |view| view["status"] == "connected").await;
    let ada = world.user("ada").await;
    let created = ada.json(Method::POST, INSTANCE, &[("prefer", "respond-async")], json!({ "name": "web" })).await;
    assert_eq!(created.status, 202, "{created:?}");
    let report = json!({
        "instanceId": created.data()["instanceId"], "userId": created.data()["userId"], "placement": 1,
        "generation": 1, "type": "instance-refused", "code": "image_missing", "message": CANARY,
    });
    hostile.publish(Channel::Report(hostile.id), report).await;
    wait_until("the instance has failed", DEADLINE, async || {
        let answer = ada.get(&format!("{INSTANCE}/web")).await;
        let reason = &answer.data()["failure"][0]["reason"];
        if *reason == format!("refused: {CANARY}") { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;

    let stored = log::stored(&world.nats).await;
    let failed = stored.iter().find(|event| event.kind == "dockhost.instance.failed.v2").unwrap();
    assert!(failed.body.contains("$sealed") && failed.body.contains("image_missing"), "{failed:?}");
    assert!(stored.iter().all(|event| !event.body.contains(CANARY)));
    assert_eq!(files_with(&world, CANARY), [""; 0]);

    let erased = run(world.data.path(), &["erase-user", "ada", "--yes"], &world.server_env()).await;
    assert!(erased.code == 0 && erased.out.contains("the key is destroyed"), "{erased:?}");
    world.verify().await;
    let rebuilt = run(world.data.path(), &["rebuild"], &world.server_env()).await;
    assert!(rebuilt.code == 0 && !rebuilt.out.contains("DIFFERENT"), "{rebuilt:?}");
    let store = MongoStore::connect(&world.mongo.uri, &world.mongo.database).await.unwrap();
    let documents = format!("{:?}", store.everything().await.unwrap());
    assert!(!documents.contains(CANARY), "{documents}");
    assert_eq!(files_with(&world, CANARY), [""; 0]);
}

/// At this level async-nats logs whole messages, and the key that it connects with.
#[tokio::test]
async fn agent_at_trace_level_logs_no_assignment_and_no_key() {
    let mut world = World::start(1).await;
    let alpha = world.add_agent_with("alpha", 5, &[("RUST_LOG", "trace")]).await;
    let ada = world.user("ada").await;
    let created = ada.json(Method::POST, INSTANCE, &[], json!({ "name": "canary-name-of-web" })).await;
    assert_eq!(created.status, 201, "{created:?}");
    let text = std::fs::read_to_string(world.data.path().join("agent-alpha.log")).unwrap();
    assert!(text.contains("received an assignment"), "{text}");
    let key = SSH_KEY.split(' ').nth(1).unwrap();
    for secret in [key, "canary-name-of-web", &world.agents[alpha].key] {
        assert!(!text.contains(secret), "{secret} is in the log: {text}");
    }
}

/// The files of the event log in the broker's store that contain a text. Reports are elsewhere, and removed once they
/// are handled.
fn files_with(world: &World, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut below = vec![world.nats.data.path().to_owned()];
    let mut files = 0;
    while let Some(path) = below.pop() {
        if path.is_dir() {
            below.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.iter().any(|part| part == EVENTS) {
            files += 1;
            let bytes = std::fs::read(&path).unwrap_or_default();
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    assert!(files > 0, "no file of the event log was found");
    found
}
