//! Reading a site into an observation.
//!
//! In: broker, database, the agents' files, the replicas' `/health`. Out: plain data. Nothing is judged here, and
//! nothing is left out because it looks right.

use std::path::Path;
use std::time::Duration;

use async_nats::jetstream::Context;
use dockhost::app::secrets::Secrets;
use dockhost::broker::connect::Broker;
use dockhost::broker::consumer::ordered::{OrderedConfig, OrderedConsumer};
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

use crate::observation::{Change, Consumer, Copy, Entry, Model, Observation, StoredAssignment, Verified};
use crate::site::Site;

/// Longer than a whole log of a run takes to be read.
const PATIENCE: Duration = Duration::from_secs(60);
const HEALTH_WITHIN: Duration = Duration::from_secs(5);

/// All that is there now, but what only an end can tell (`verify`, the nodes' copies).
///
/// # Errors
/// When a part does not answer.
pub async fn observe(site: &Site) -> Result<Observation, Cause> {
    let world = &site.world;
    let broker = Broker::connect(&world.nats.url(), &world.nats.secrets.nats, "observer", PATIENCE).await?;
    let js = broker.jetstream();
    let env = world.server_env();
    let secrets = Secrets::read(|name| env.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| value.clone()))?;
    let master = secrets.master_key;
    let log = JetStreamLog::open(broker.client().clone(), master, LogOptions::default()).await?;
    let codec = Codec::new(std::sync::Arc::clone(log.keyring()));
    let store = MongoStore::connect(&world.mongo.uri, &world.mongo.database).await?;
    // The models first, then the log: what they hold is in the log by then.
    let models = models(&store).await?;
    let entries = entries(js, &codec).await?;
    let mut health = Vec::new();
    for replica in &world.replicas {
        health.push(well(&replica.url).await);
    }
    Ok(Observation {
        at: clock::now(),
        incarnation: log.incarnation().to_string(),
        log: entries,
        copies: Vec::new(),
        machines: site.machines(),
        models,
        verified: None,
        assignments: assignments(js).await?,
        consumers: consumers(js).await?,
        timers: subjects(js, TIMERS, ALL_TIMERS).await?,
        reports: js.get_stream(REPORTS).await?.cached_info().state.messages,
        health,
    })
}

async fn well(url: &str) -> Value {
    let client = Client::new(url);
    let asked = client.try_send(reqwest::Method::GET, "/health", &[], None);
    tokio::time::timeout(HEALTH_WITHIN, asked).await.ok().and_then(Result::ok).map_or(Value::Null, |answer| answer.body)
}

async fn models(store: &MongoStore) -> Result<Vec<Model>, Cause> {
    let mut models = Vec::new();
    for (model, checkpoint) in read_checkpoints(store).await? {
        let Some(checkpoint) = checkpoint else { continue };
        // The documents after the checkpoint: they may be newer than it says, never older.
        let documents = store.everything().await?.remove(checkpoint.collection.as_str()).unwrap_or_default();
        let (name, incarnation) = (model.name.to_owned(), checkpoint.incarnation.to_string());
        models.push(Model { name, incarnation, checkpoint: checkpoint.sequence, documents });
    }
    Ok(models)
}

/// The log as it is stored, and its bodies opened.
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
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while consumer.position() < last {
        let Some((sequence, message)) = tokio::time::timeout_at(deadline, consumer.next()).await?? else { continue };
        let headers = message.headers.clone().unwrap_or_default();
        let (subject, body) = (&message.subject, &message.payload);
        let stored = StoredMessage { sequence, subject, headers: &headers, body };
        let data = match codec.decode(&stored).await? {
            Decoded::Event(recorded) => Some(recorded.envelope.event.encode()?.data),
            Decoded::Unreadable { .. } => None,
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
    let mut stored = Vec::new();
    for subject in subjects(js, ASSIGNMENTS, ALL_ASSIGNMENTS).await? {
        let Ok(Channel::Assignment(backend_id, instance_id)) = subject.parse() else { continue };
        // It may be removed between the two questions.
        let Ok(message) = stream.get_last_raw_message_by_subject(&subject).await else { continue };
        stored.push(StoredAssignment { backend_id, instance_id, body: serde_json::from_slice(&message.payload)? });
    }
    Ok(stored)
}

/// Those whose place outlives their reader: the leader's roles, and the agents'.
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

/// What each node of a cluster holds: each is made the stream's leader in turn, and asked as such.
///
/// # Errors
/// When a part does not answer.
pub async fn copies(site: &Site) -> Result<Vec<Copy>, Cause> {
    let nodes = site.world.nats.addresses().len();
    if nodes == 1 {
        return Ok(Vec::new());
    }
    let mut copies = Vec::new();
    for node in 0..nodes {
        let broker = site.world.nats.main().await;
        let js = broker.jetstream();
        let name = format!("dockhost-{node}");
        lead(js, &name).await?;
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
            return Err(format!("{name} led no more when all was read: {leader:?}").into());
        }
        copies.push(Copy { node: name, entries });
    }
    Ok(copies)
}

/// Makes a node the leader of the log.
async fn lead(js: &Context, name: &str) -> Result<(), Cause> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Ok(stream) = js.get_stream(EVENTS).await
            && let Some(leader) = stream.cached_info().cluster.as_ref().and_then(|cluster| cluster.leader.clone())
        {
            if leader == name {
                return Ok(());
            }
            let wish = serde_json::json!({ "placement": { "preferred": name } });
            // Whether it was followed is seen above.
            let _: Result<Value, _> = js.request(format!("STREAM.LEADER.STEPDOWN.{EVENTS}"), &wish).await;
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(format!("{name} does not get to lead the log").into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What `dockhost verify` says.
pub async fn verify(site: &Site) -> Verified {
    let said = dockhost_harness::run(site.world.data.path(), &["verify"], &site.world.server_env()).await;
    Verified { equal: said.code == 0, said: format!("{}{}", said.out, said.err) }
}

/// The changes that a simulated machine's file holds; a torn last line is none.
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
