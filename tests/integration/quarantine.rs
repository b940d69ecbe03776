//! An event that can't be read quarantines only its own aggregate, until a program that can read it releases it.

use std::sync::Arc;

use async_nats::HeaderMap;
use dockhost::common::clock;
use dockhost::event_log::history::LogHistory;
use dockhost::event_log::jetstream::{JetStreamLog, LogOptions};
use dockhost_domain::aggregate::Meta;
use dockhost_domain::envelope::{self, Actor, Origin, RecordedEvent};
use dockhost_domain::ids::{EventId, UserId};
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::AggregateId;
use dockhost_projections::instances::Instances;
use dockhost_projections::rebuild::rebuild;
use dockhost_projections::store::{Cause, View};
use dockhost_projections::users::{UserDocument, Users};
use dockhost_projections::{History, LogEntry, MongoStore, ReadModel, StoredModel, Unreadable};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::http::{Answer, Client};
use crate::harness::wait::DEADLINE;
use crate::harness::{ADMIN, CommandOutput, World, run, wait_until};

const INSTANCE: &str = "/api/v2/user/instance";

async fn dockhost(world: &World, args: &[&str]) -> CommandOutput {
    run(world.data.path(), args, &world.server_env()).await
}

/// A signed-up user, and the subject of their tenancy.
pub async fn person(world: &World, name: &str) -> (Client, String) {
    let answer = world.client(0).sign_up(name).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let id: UserId = answer.data()["user"]["id"].as_str().unwrap().parse().unwrap();
    let token = answer.data()["accessToken"].as_str().unwrap();
    (world.client(0).with_token(token), AggregateId::Tenancy(id).to_string())
}

/// Events that no server of this version can read.
#[derive(Debug, Clone, Copy)]
enum Malformed {
    UnknownType,
    UnknownVersion,
    BadJson,
    ForeignType,
    NoEnvelope,
}

/// Publishes an event directly, as another version would.
async fn publish(world: &World, subject: &str, malformed: Malformed) -> u64 {
    let (kind, body) = match malformed {
        Malformed::UnknownType => ("dockhost.instance.teleported.v1", "{}"),
        Malformed::UnknownVersion => ("dockhost.instance.released.v99", "{}"),
        Malformed::BadJson => ("dockhost.instance.released.v1", "{\"half"),
        Malformed::ForeignType => ("dockhost.session.revoked.v1", "{\"sessionId\":\"x\"}"),
        Malformed::NoEnvelope => ("", "nonsense"),
    };
    let meta = Meta { id: EventId::from_uuid(clock::fresh_uuid()), time: clock::now() };
    let origin = Origin::new(Actor::System, "test");
    let aggregate: AggregateId = subject.parse().unwrap();
    let mut headers = HeaderMap::new();
    if !kind.is_empty() {
        for (name, value) in envelope::headers(&aggregate, &meta, &origin, kind, "test") {
            headers.insert(name, value);
        }
    }
    let broker = world.nats.main().await;
    let stored = broker.jetstream().publish_with_headers(subject.to_owned(), headers, body.into()).await.unwrap();
    stored.await.unwrap().sequence
}

async fn health(world: &World, replica: usize) -> Answer {
    world.client(replica).get("/health").await
}

/// Waits until a replica's `/health` lists exactly these subjects.
pub async fn quarantined(world: &World, replica: usize, subjects: &[&str]) -> Answer {
    wait_until("/health lists what is quarantined", DEADLINE, async || {
        let answer = health(world, replica).await;
        let entries = answer.body["quarantined"]["entries"].as_array().cloned().unwrap_or_default();
        let listed: Vec<&str> = entries.iter().filter_map(|entry| entry["subject"].as_str()).collect();
        let all = subjects.iter().all(|subject| listed.contains(subject));
        if all && listed.len() == subjects.len() { Ok(answer) } else { Err(answer.body.to_string()) }
    })
    .await
}

/// Checks that a user can create, read, stop and delete an instance.
async fn assert_works(client: &Client) {
    let created = client.create().await;
    assert_eq!(created.status, 201, "{created:?}");
    let id = created.data()["instanceId"].as_str().unwrap().to_owned();
    let position = created.header("dockhost-position").unwrap();
    let read = client.send(Method::GET, &format!("{INSTANCE}/{id}"), &[("dockhost-position", position)], None).await;
    assert_eq!((read.status, read.data()["status"].as_str()), (200, Some("running")), "{read:?}");
    assert_eq!((read.header("dockhost-stale"), &read.data()["stale"]), (None, &Value::Null), "{read:?}");
    let stopped = client.put(&format!("{INSTANCE}/stop"), json!({ "instanceId": id })).await;
    assert_eq!(stopped.status, 200, "{stopped:?}");
    assert_eq!(client.delete(INSTANCE, json!({ "instanceId": id })).await.status, 200);
}

/// Checks a user whose tenancy is quarantined from `sequence` on: commands fail, and queries return stale results.
async fn assert_quarantined(client: &Client, sequence: u64, instances: usize) {
    let refused = client.create().await;
    assert_eq!((refused.status, refused.code()), (503, "aggregate_frozen"), "{refused:?}");
    let listed = client.get(INSTANCE).await;
    let since = sequence.to_string();
    assert_eq!((listed.status, listed.header("dockhost-stale")), (200, Some(since.as_str())), "{listed:?}");
    let listed = listed.data().as_array().unwrap().clone();
    assert_eq!(listed.len(), instances);
    assert!(listed.iter().all(|instance| instance["stale"]["since"] == sequence), "{listed:?}");
    let unknown = client.get(&format!("{INSTANCE}/unheard-of")).await;
    assert_eq!((unknown.status, &unknown.body["error"]["details"]["stale"]["since"]), (404, &json!(sequence)));
}

#[tokio::test]
async fn quarantine_of_every_kind_of_malformed_event_affects_only_its_aggregate() {
    let mut world = World::with(2, &ADMIN).await;
    world.add_agent("alpha", 50).await;
    let (other, _) = person(&world, "other").await;
    let mut quarantined_users: Vec<(Client, String, u64)> = Vec::new();
    for (name, odd) in [
        ("type", Malformed::UnknownType),
        ("version", Malformed::UnknownVersion),
        ("json", Malformed::BadJson),
        ("foreign", Malformed::ForeignType),
        ("envelope", Malformed::NoEnvelope),
    ] {
        let (client, subject) = person(&world, name).await;
        assert_eq!(client.create().await.status, 201);
        let sequence = publish(&world, &subject, odd).await;
        // One more event of the same aggregate.
        publish(&world, &subject, Malformed::UnknownType).await;
        quarantined_users.push((client, subject, sequence));
        assert_works(&other).await;
    }
    let subjects: Vec<&str> = quarantined_users.iter().map(|(_, subject, _)| subject.as_str()).collect();
    for replica in 0..2 {
        let answer = quarantined(&world, replica, &subjects).await;
        assert_eq!((answer.status, &answer.body["status"]), (200, &json!("degraded")), "{answer:?}");
        assert_eq!(answer.body["quarantined"]["count"], 5);
        assert_eq!(answer.body["projections"]["instances"]["lag"], 0, "{answer:?}");
    }
    for (client, _, sequence) in &quarantined_users {
        assert_quarantined(client, *sequence, 1).await;
        assert_quarantined(&client.at(&world.replicas[1].url), *sequence, 1).await;
    }

    // The agent restarts and reports all its containers; reports on quarantined instances are skipped.
    world.kill_agent(0).await;
    world.start_agent(0, &[]);
    assert_works(&other).await;
    wait_until("all reports are processed", DEADLINE, async || {
        let broker = world.nats.main().await;
        let stream = broker.jetstream().get_stream("REPORTS").await.unwrap();
        let left = stream.cached_info().state.messages;
        if left == 0 { Ok(()) } else { Err(format!("{left} are not")) }
    })
    .await;

    let listed = dockhost(&world, &["quarantine", "list", "--json"]).await;
    assert_eq!(listed.code, 0, "{listed:?}");
    let lines: Vec<Value> = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(lines.len(), 5);
    for (_, subject, sequence) in &quarantined_users {
        let line = lines.iter().find(|line| line["subject"] == **subject).unwrap();
        assert_eq!((&line["sequence"], &line["models"]), (&json!(sequence), &json!(["instances"])), "{line}");
        assert!(line["since"].is_string() && line["why"].is_string(), "{line}");
    }
    let text = dockhost(&world, &["quarantine", "list"]).await;
    assert!(text.out.ends_with("5 aggregates quarantined\n"), "{text:?}");
    let retried = dockhost(&world, &["quarantine", "retry"]).await;
    assert!(retried.code == 1 && retried.out.ends_with("0 released, 5 still quarantined\n"), "{retried:?}");
    let admin = world.admin().await;
    let path = format!("/api/v2/admin/quarantine/{}/retry", quarantined_users[0].1);
    let retried = admin.post(&path, json!({})).await;
    assert_eq!((retried.status, retried.code()), (409, "still_quarantined"), "{retried:?}");
    let mut as_admin = world.server_env();
    as_admin.extend([
        ("DOCKHOST_URL", world.replicas[1].url.clone()),
        ("DOCKHOST_TOKEN", admin.token().unwrap().to_owned()),
    ]);
    let listed = run(world.data.path(), &["admin", "quarantine", "list", "-o", "json"], &as_admin).await;
    let lines: Vec<Value> = serde_json::from_str(&listed.out).unwrap_or_else(|error| panic!("{error}: {listed:?}"));
    assert_eq!(lines.len(), 5);
    let refused = run(world.data.path(), &["admin", "quarantine", "retry", &quarantined_users[0].1], &as_admin).await;
    assert!(refused.code == 1 && refused.err.contains("still_quarantined"), "{refused:?}");
    let verified = dockhost(&world, &["verify"]).await;
    assert!(verified.code == 0 && verified.out.contains("5 aggregates quarantined"), "{verified:?}");

    // A rebuild and the next leader yield the same.
    let rebuilt = dockhost(&world, &["rebuild", "--projection", "instances"]).await;
    assert!(rebuilt.code == 0 && rebuilt.out.contains("5 aggregates quarantined"), "{rebuilt:?}");
    let leader = world.leader().await;
    let survivor = world.replicas[1 - leader].url.clone();
    world.kill_replica(leader).await;
    let other = other.at(&survivor);
    wait_until("the survivor leads", DEADLINE, async || {
        let created = other.create().await;
        if created.status == 201 { Ok(()) } else { Err(format!("{created:?}")) }
    })
    .await;
    assert_works(&other).await;
    for (client, _, sequence) in &quarantined_users {
        assert_quarantined(&client.at(&survivor), *sequence, 1).await;
    }
    quarantined(&world, 1 - leader, &subjects).await;
    world.verify().await;
}

#[tokio::test]
async fn quarantine_of_a_backend_and_a_claim_affects_no_other_aggregate() {
    let mut world = World::start(1).await;
    world.add_agent("alpha", 10).await;
    let before = world.events_on("dockhost.event.claim.>").await;
    let (_, _) = person(&world, "eve").await;
    let claims = world.events_on("dockhost.event.claim.>").await;
    let claim = claims.keys().find(|subject| !before.contains_key(*subject)).unwrap().clone();
    let beta = world.register("beta", 10).await;
    let machine = world.backend("beta").await;
    let id = machine.get("/api/v2/backend").await.data()["id"].as_str().unwrap().to_owned();
    let backend = format!("dockhost.event.backend.{id}");
    let (in_claim, in_backend) = (
        publish(&world, &claim, Malformed::UnknownType).await,
        publish(&world, &backend, Malformed::UnknownVersion).await,
    );
    // Its agent connects and sends heartbeats.
    world.start_agent(beta, &[]);
    quarantined(&world, 0, &[&claim, &backend]).await;
    let shown = machine.get("/api/v2/backend").await;
    assert_eq!((shown.status, &shown.data()["stale"]["since"]), (200, &json!(in_backend)), "{shown:?}");
    assert_eq!(shown.data()["status"], "enrolled");
    let sign_in = async |name: &str| {
        world.client(0).post("/api/v2/user/signin", json!({ "username": name, "password": "correct horse" })).await
    };
    let refused = [sign_in("eve").await, sign_in("eve@example.org").await];
    assert!(refused.iter().any(|answer| answer.code() == "aggregate_frozen"), "{refused:?}");
    let (other, _) = person(&world, "other").await;
    assert_eq!(sign_in("other").await.status, 200);
    assert_works(&other).await;

    // No read model folds claims, so only a scan of the log finds the claim.
    let listed = dockhost(&world, &["quarantine", "list", "--json"]).await;
    assert!(listed.out.contains(&backend) && !listed.out.contains(&claim), "{listed:?}");
    let scanned = dockhost(&world, &["quarantine", "list", "--scan", "--json"]).await;
    let lines: Vec<Value> = serde_json::from_str(&scanned.out).unwrap();
    let found: Vec<_> = lines.iter().map(|line| line["sequence"].as_u64().unwrap()).collect();
    assert_eq!(found, [in_claim, in_backend], "{scanned:?}");
    let nothing = dockhost(&world, &["quarantine", "retry", &claim]).await;
    assert!(nothing.code == 1 && nothing.err.contains("is not quarantined"), "{nothing:?}");

    // A replica that starts now behaves the same.
    let late = world.add_replica().await;
    quarantined(&world, late, &[&backend]).await;
    assert_works(&other.at(&world.replicas[late].url)).await;
}

/// The log as read by an older program, which can't read one event.
struct OlderHistory {
    history: LogHistory,
    sequence: u64,
}

impl OlderHistory {
    fn without_event<'a>(
        &self,
        entries: BoxStream<'a, Result<LogEntry, Cause>>,
    ) -> BoxStream<'a, Result<LogEntry, Cause>> {
        let unreadable = self.sequence;
        let map = move |entry| match entry {
            LogEntry::Event(recorded) if recorded.sequence == unreadable => {
                let subject = recorded.envelope.aggregate.to_string();
                LogEntry::Unreadable(Unreadable::new(subject, unreadable, "unknown type"))
            }
            entry => entry,
        };
        entries.map(move |entry| entry.map(map)).boxed()
    }
}

impl History for OlderHistory {
    fn incarnation(&self) -> Incarnation {
        self.history.incarnation()
    }

    fn end(&self) -> BoxFuture<'_, Result<u64, Cause>> {
        self.history.end()
    }

    fn read_all(&self, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>> {
        self.without_event(self.history.read_all(after, to))
    }

    fn read(&self, kind: &'static str, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>> {
        self.without_event(self.history.read(kind, after, to))
    }

    fn read_one(&self, aggregate: AggregateId, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>> {
        self.without_event(self.history.read_one(aggregate, after, to))
    }
}

/// The log and the database of the world.
async fn open(world: &World) -> (LogHistory, MongoStore) {
    let env = world.server_env();
    let master = &env.iter().find(|(name, _)| *name == "DOCKHOST_MASTER_KEY").unwrap().1;
    let client = world.nats.main().await.client().clone();
    let log = JetStreamLog::open(client, master.parse().unwrap(), LogOptions::default()).await.unwrap();
    let store = MongoStore::connect(&world.mongo.uri, &world.mongo.database).await.unwrap();
    (LogHistory(Arc::new(log)), store)
}

/// Rebuilds the model as an older program that can't read a user's second event; returns its sequence.
pub async fn rebuild_by_an_older_program(world: &World, subject: &str) -> u64 {
    let (history, store) = open(world).await;
    let aggregate = subject.parse().unwrap();
    let end = history.end().await.unwrap();
    let events: Vec<u64> =
        history.read_one(aggregate, 0, end).map(|entry| entry.unwrap().sequence()).collect::<Vec<_>>().await;
    let history = OlderHistory { history, sequence: events[1] };
    rebuild::<Instances>(&store, &history, &|_| {}).await.unwrap();
    events[1]
}

#[tokio::test]
async fn quarantine_is_released_on_demand_or_by_the_next_leader() {
    let mut world = World::with(2, &ADMIN).await;
    world.add_agent("alpha", 10).await;
    let (ada, subject) = person(&world, "ada").await;
    let (other, _) = person(&world, "other").await;
    assert_eq!(ada.create().await.status, 201);
    let marked = async |client: &Client| client.get(INSTANCE).await.header("dockhost-stale").map(str::to_owned);

    let sequence = rebuild_by_an_older_program(&world, &subject).await;
    wait_until("the replica reads the new checkpoint", DEADLINE, async || match marked(&ada).await {
        Some(since) if since == sequence.to_string() => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    // The servers can read the events and accept commands; the documents do not change.
    assert_eq!(ada.create().await.status, 201);
    assert_works(&other).await;
    assert_eq!(ada.get(INSTANCE).await.data().as_array().unwrap().len(), 1);
    quarantined(&world, 0, &[&subject]).await;
    let one = dockhost(&world, &["quarantine", "retry", &subject]).await;
    assert!(one.code == 0 && one.out.ends_with("1 released, 0 still quarantined\n"), "{one:?}");
    assert_eq!(marked(&ada).await, None);
    let listed = ada.get(INSTANCE).await;
    assert!(listed.data().as_array().unwrap().iter().all(|instance| instance["status"] == "running"), "{listed:?}");
    assert_eq!(listed.data().as_array().unwrap().len(), 2);
    assert_eq!(quarantined(&world, 0, &[]).await.body["status"], "healthy");
    assert_works(&ada).await;
    world.verify().await;

    // An administrator retries on a replica that does not lead; the leader's projector goes on in the released documents.
    rebuild_by_an_older_program(&world, &subject).await;
    let admin = world.admin().await.at(&world.replicas[1 - world.leader().await].url);
    let listed = wait_until("the list has the aggregate", DEADLINE, async || {
        let listed = admin.get("/api/v2/admin/quarantine").await;
        if listed.data()["items"][0]["subject"] == *subject { Ok(listed) } else { Err(format!("{listed:?}")) }
    })
    .await;
    let item = &listed.data()["items"][0];
    assert_eq!((&item["sequence"], &item["models"]), (&json!(sequence), &json!(["instances"])), "{item}");
    assert!(item["since"].is_string(), "{item}");
    let retry = format!("/api/v2/admin/quarantine/{subject}/retry");
    let released = admin.post(&retry, json!({})).await;
    assert_eq!((released.status, &released.data()["models"]), (200, &json!(["instances"])), "{released:?}");
    assert_eq!(admin.post(&retry, json!({})).await.status, 404);
    assert_eq!((marked(&ada).await, ada.get(INSTANCE).await.data().as_array().map(Vec::len)), (None, Some(2)));
    assert_works(&ada).await;

    // The next leader retries by itself.
    rebuild_by_an_older_program(&world, &subject).await;
    let leader = world.leader().await;
    let survivor = ada.at(&world.replicas[1 - leader].url);
    wait_until("the survivor reads the new checkpoint", DEADLINE, async || {
        if marked(&survivor).await.is_some() { Ok(()) } else { Err("it is not stale") }
    })
    .await;
    world.kill_replica(leader).await;
    wait_until("the next leader releases the aggregate", DEADLINE, async || match marked(&survivor).await {
        None => Ok(()),
        Some(since) => Err(since),
    })
    .await;
    assert_works(&survivor).await;
    world.verify().await;
}

/// `users` with the next fold version.
struct NextUsers;

impl StoredModel for NextUsers {
    const NAME: &'static str = Users::NAME;
    const FOLD_VERSION: u32 = Users::FOLD_VERSION + 1;
    const INDEXES: &'static [&'static [&'static str]] = Users::INDEXES;
    type Document = UserDocument;

    fn view() -> View {
        Users::view()
    }
}

impl ReadModel for NextUsers {
    const KIND: &'static str = Users::KIND;

    fn keys(event: &envelope::Envelope) -> Vec<UserId> {
        Users::keys(event)
    }

    fn fold(id: UserId, document: Option<UserDocument>, recorded: &RecordedEvent) -> Option<UserDocument> {
        Users::fold(id, document, recorded)
    }
}

#[tokio::test]
async fn model_of_a_newer_fold_version_stops_alone_and_names_the_remedy() {
    let mut world = World::start(2).await;
    world.add_agent("alpha", 10).await;
    let (ada, _) = person(&world, "ada").await;
    let (history, store) = open(&world).await;
    rebuild::<NextUsers>(&store, &history, &|_| {}).await.unwrap();
    // The projector reads the checkpoint after the next event.
    let (bob, _) = person(&world, "bob").await;
    for replica in 0..2 {
        wait_until("/health shows why the model stopped", DEADLINE, async || {
            let answer = health(&world, replica).await;
            let stopped = &answer.body["projections"]["users"]["stopped"];
            if stopped.is_null() {
                return Err(answer.body.to_string());
            }
            assert_eq!(stopped["run"], "dockhost rebuild --projection users");
            let newer = format!("have fold version {}", NextUsers::FOLD_VERSION);
            assert!(stopped["why"].as_str().unwrap().contains(&newer), "{stopped}");
            assert_eq!((answer.status, &answer.body["status"]), (200, &json!("degraded")), "{answer:?}");
            Ok(())
        })
        .await;
    }
    assert_works(&ada).await;
    assert_works(&bob).await;
    let rebuilt = dockhost(&world, &["rebuild", "--projection", "users"]).await;
    assert_eq!(rebuilt.code, 0, "{rebuilt:?}");
    for replica in 0..2 {
        wait_until("the model continues", DEADLINE, async || {
            let answer = health(&world, replica).await;
            if answer.body["status"] == "healthy" { Ok(()) } else { Err(answer.body.to_string()) }
        })
        .await;
    }
    world.verify().await;
}
