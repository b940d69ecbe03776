//! Reads the state of a system into an observation: broker, database, the agents' files, `/health` of each replica.
//!
//! It filters nothing, so that the checker sees everything.

use std::path::Path;
use std::time::Duration;

use async_nats::jetstream::Context;
use dockhost::app::secrets::Secrets;
use dockhost::broker::connect::Broker;
use dockhost::broker::consumer::ordered::{OrderedConfig, OrderedConsumer};
use dockhost::broker::streams::store_probe::REPORTS_PROBE;
use dockhost::broker::streams::{ASSIGNMENTS, EVENTS, REPORTS, TIMERS};
use dockhost::common::clock;
use dockhost::common::error::Cause;
use dockhost::event_log::EventLog;
use dockhost::event_log::codec::{Codec, Decoded, StoredMessage};
use dockhost::event_log::jetstream::{JetStreamLog, LogOptions};
use dockhost_domain::ids::InstanceId;
use dockhost_domain::subject::{ALL_ASSIGNMENTS, ALL_EVENTS, ALL_TIMERS, Channel};
use dockhost_harness::http::Client;
use dockhost_projections::read_checkpoints;
use dockhost_projections::store::MongoStore;
use futures::TryStreamExt;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::observation::{Change, Consumer, Entry, Model, NodeCopy, Observation, StoredAssignment, Verified};
use crate::system::System;

/// Time limit for connecting, for reading the whole log, and for moving the stream's leader.
const BROKER_TIMEOUT: Duration = Duration::from_secs(60);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// The current state, without `verified` and `copies`, which are added at the end of a run.
///
/// # Errors
/// If a component does not respond.
pub async fn observe(system: &System) -> Result<Observation, Cause> {
    let world = &system.world;
    let broker = Broker::connect(&world.nats.url(), &world.nats.secrets.nats, "observer", BROKER_TIMEOUT).await?;
    let js = broker.jetstream();
    let env = world.server_env();
    let secrets = Secrets::read(|name| env.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| value.clone()))?;
    let master = secrets.master_key;
    let log = JetStreamLog::open(broker.client().clone(), master, LogOptions::default()).await?;
    let codec = Codec::new(std::sync::Arc::clone(log.keyring()));
    let store = MongoStore::connect(&world.mongo.uri, &world.mongo.database).await?;
    // Reads the models before the log, so that the log contains all of their events.
    let models = models(&store).await?;
    let entries = entries(js, &codec).await?;
    let mut health = Vec::new();
    for replica in &world.replicas {
        health.push(fetch_health(&replica.url).await);
    }
    Ok(Observation {
        at: clock::now(),
        incarnation: log.incarnation().to_string(),
        log: entries,
        copies: Vec::new(),
        machines: system.machines(),
        models,
        verified: None,
        assignments: assignments(js).await?,
        consumers: consumers(js).await?,
        timers: subjects(js, TIMERS, ALL_TIMERS).await?,
        reports: reports(js).await?,
        health,
    })
}

/// Messages in REPORTS, without the servers' probes.
async fn reports(js: &Context) -> Result<u64, Cause> {
    let stream = js.get_stream(REPORTS).await?;
    let listed: Vec<(String, usize)> = stream.info_with_subjects(">").await?.try_collect().await?;
    let reports = listed.into_iter().filter(|(subject, _)| subject != REPORTS_PROBE);
    Ok(reports.map(|(_, count)| count as u64).sum())
}

async fn fetch_health(url: &str) -> Value {
    let client = Client::new(url);
    let request = client.try_send(reqwest::Method::GET, "/health", &[], None);
    tokio::time::timeout(HEALTH_TIMEOUT, request)
        .await
        .ok()
        .and_then(Result::ok)
        .map_or(Value::Null, |answer| answer.body)
}

async fn models(store: &MongoStore) -> Result<Vec<Model>, Cause> {
    let mut models = Vec::new();
    for (model, checkpoint) in read_checkpoints(store).await? {
        let Some(checkpoint) = checkpoint else { continue };
        // Reads the documents after the checkpoint, so that they are never older than it.
        let documents = store.everything().await?.remove(checkpoint.collection.as_str()).unwrap_or_default();
        let (name, incarnation) = (model.name.to_owned(), checkpoint.incarnation.to_string());
        models.push(Model { name, incarnation, checkpoint: checkpoint.sequence, documents });
    }
    Ok(models)
}

/// The stored log with decrypted bodies.
async fn entries(js: &Context, codec: &Codec) -> Result<Vec<Entry>, Cause> {
    let last = js.get_stream(EVENTS).await?.cached_info().state.last_sequence;
    let config = OrderedConfig {
        stream: EVENTS,
        filter: ALL_EVENTS.to_owned(),
        after: 0,
        messages_per_pull: 1000,
        inactive_threshold: Duration::from_secs(10),
    };
    let mut consumer = OrderedConsumer::new(js.clone(), config);
    let mut entries = Vec::new();
    let deadline = tokio::time::Instant::now() + BROKER_TIMEOUT;
    while consumer.position() < last {
        let Some((sequence, message)) = tokio::time::timeout_at(deadline, consumer.next()).await?? else { continue };
        let headers = message.headers.clone().unwrap_or_default();
        let (subject, body) = (&message.subject, &message.payload);
        let stored = StoredMessage { sequence, subject, headers: &headers, body };
        let data = match codec.decode(&stored).await? {
            Decoded::Event(recorded) => Some(recorded.envelope.event.encode()?.data),
            Decoded::Barrier | Decoded::Unreadable { .. } => None,
        };
        let headers =
            headers.iter().filter_map(|(name, values)| Some((name.to_string(), values.first()?.to_string()))).collect();
        entries.push(Entry { sequence, subject: subject.to_string(), headers, hash: hash(body), data });
    }
    Ok(entries)
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn subjects(js: &Context, stream: &str, filter: &str) -> Result<Vec<String>, Cause> {
    let stream = js.get_stream(stream).await?;
    let mut listed: Vec<(String, usize)> = stream.info_with_subjects(filter).await?.try_collect().await?;
    listed.sort();
    Ok(listed.into_iter().map(|(subject, _)| subject).collect())
}

async fn assignments(js: &Context) -> Result<Vec<StoredAssignment>, Cause> {
    let stream = js.get_stream(ASSIGNMENTS).await?;
    let mut assignments = Vec::new();
    for subject in subjects(js, ASSIGNMENTS, ALL_ASSIGNMENTS).await? {
        let Ok(Channel::Assignment(backend_id, instance_id)) = subject.parse() else { continue };
        // It may have been removed since it was listed.
        let Ok(message) = stream.get_last_raw_message_by_subject(&subject).await else { continue };
        assignments.push(StoredAssignment { backend_id, instance_id, body: serde_json::from_slice(&message.payload)? });
    }
    Ok(assignments)
}

/// The durable consumers: those of the leader's roles and of the agents.
async fn consumers(js: &Context) -> Result<Vec<Consumer>, Cause> {
    let mut found = Vec::new();
    for stream in [EVENTS, REPORTS, TIMERS, ASSIGNMENTS] {
        let handle = js.get_stream(stream).await?;
        let mut consumers = handle.consumers();
        while let Some(info) = consumers.try_next().await? {
            if info.config.durable_name.is_some() {
                found.push(Consumer {
                    stream: stream.to_owned(),
                    name: info.name,
                    pending: info.num_pending,
                    unacknowledged: info.num_ack_pending as u64,
                });
            }
        }
    }
    Ok(found)
}

/// Each node's copy of the log, read by making each node the stream's leader in turn.
///
/// # Errors
/// If a component does not respond.
pub async fn copies(system: &System) -> Result<Vec<NodeCopy>, Cause> {
    let nodes = system.world.nats.addresses().len();
    if nodes == 1 {
        return Ok(Vec::new());
    }
    let mut copies = Vec::new();
    for node in 0..nodes {
        let broker = system.world.nats.main().await;
        let js = broker.jetstream();
        let name = format!("dockhost-{node}");
        move_leadership(js, &name).await?;
        let stream = js.get_stream(EVENTS).await?;
        let last = stream.cached_info().state.last_sequence;
        let mut entries = Vec::new();
        let mut next = 1;
        while next <= last {
            let message = stream.raw_message_builder().sequence(next).next_by_subject(ALL_EVENTS).send().await?;
            next = message.sequence + 1;
            entries.push((message.sequence, message.subject.to_string(), hash(&message.payload)));
        }
        let leader = js.get_stream(EVENTS).await?.cached_info().cluster.as_ref().and_then(|c| c.leader.clone());
        if leader.as_deref() != Some(&name) {
            return Err(format!("{name} lost the leadership during the read, to {leader:?}").into());
        }
        copies.push(NodeCopy { node: name, entries });
    }
    Ok(copies)
}

/// Makes a node the leader of EVENTS.
async fn move_leadership(js: &Context, name: &str) -> Result<(), Cause> {
    let deadline = tokio::time::Instant::now() + BROKER_TIMEOUT;
    loop {
        if let Ok(stream) = js.get_stream(EVENTS).await
            && let Some(leader) = stream.cached_info().cluster.as_ref().and_then(|cluster| cluster.leader.clone())
        {
            if leader == name {
                return Ok(());
            }
            let request = serde_json::json!({ "placement": { "preferred": name } });
            // The next iteration checks the result.
            let _: Result<Value, _> = js.request(format!("STREAM.LEADER.STEPDOWN.{EVENTS}"), &request).await;
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(format!("{name} did not become the leader of EVENTS").into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Runs `dockhost verify`.
pub async fn verify(system: &System) -> Verified {
    let output = dockhost_harness::run(system.world.data.path(), &["verify"], &system.world.server_env()).await;
    Verified { equal: output.code == 0, output: format!("{}{}", output.out, output.err) }
}

/// The changes in a simulated machine's file; an incomplete last line is ignored.
#[must_use]
pub fn changes(directory: &Path) -> Vec<Change> {
    let mut changes = Vec::new();
    let files = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")) {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        changes.extend(text.lines().filter_map(|line| change(&serde_json::from_str(line).ok()?)));
    }
    changes
}

fn change(line: &Value) -> Option<Change> {
    if let Some(id) = line["removed"].as_str() {
        return Some(Change::Removed { id: id.to_owned() });
    }
    let put = &line["put"];
    let instance: InstanceId = put["instance"].as_str()?.parse().ok()?;
    let placement = u32::try_from(put["placement"].as_u64()?).ok()?;
    Some(Change::Put { id: put["id"].as_str()?.to_owned(), instance, placement, running: put["running"].as_bool()? })
}
