//! Snapshots with a real log and a real database: a new replica does not read all events of a long aggregate.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dockhost::common::clock;
use dockhost::event_log::jetstream::JetStreamLog;
use dockhost::event_log::{
    Append, AppendError, Delivery, EventLog, Extent, Filter, FirstPage, Freshness, LogError, Proof,
};
use dockhost::execute::snapshots::memory::MemorySnapshotStore;
use dockhost::execute::{ExecuteError, Executor, SnapshotManager, SnapshotOptions, SnapshotStore};
use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::envelope::{Actor, Origin, RecordedEvent};
use dockhost_domain::ids::{EventId, UserId};
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::{ChangeInstance, Policy, Tenancy};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::DesiredState;
use dockhost_projections::MongoStore;
use dockhost_projections::store::Snapshot;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::harness::http::Client;
use crate::harness::seed::{PASSWORD, Person};
use crate::harness::wait::DEADLINE;
use crate::harness::{Mongo, Nats, Seed, World, wait_until};

const MINUTE: Duration = Duration::from_secs(60);
/// A load reads the first few events, the snapshot's last one, and later ones.
const MAX_READ_WITH_SNAPSHOT: usize = 10;

/// A log that counts the events read by loads.
struct CountingLog {
    log: JetStreamLog,
    read: AtomicUsize,
}

impl CountingLog {
    fn count(&self, events: &[RecordedEvent]) {
        self.read.fetch_add(events.len(), Ordering::Relaxed);
    }
}

impl EventLog for CountingLog {
    fn append(&self, entry: Append) -> BoxFuture<'_, Result<u64, AppendError>> {
        self.log.append(entry)
    }

    fn append_batch(&self, entries: Vec<Append>) -> BoxFuture<'_, Result<u64, AppendError>> {
        self.log.append_batch(entries)
    }

    fn load(&self, aggregate: AggregateId, after: u64) -> BoxFuture<'_, Result<Vec<RecordedEvent>, LogError>> {
        Box::pin(async move { self.log.load(aggregate, after).await.inspect(|events| self.count(events)) })
    }

    fn load_first(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<FirstPage, LogError>> {
        Box::pin(async move { self.log.load_first(aggregate).await.inspect(|first| self.count(&first.events)) })
    }

    fn last_sequence(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<u64, LogError>> {
        self.log.last_sequence(aggregate)
    }

    fn barrier(&self, freshness: Freshness) -> BoxFuture<'_, Result<Proof, LogError>> {
        self.log.barrier(freshness)
    }

    fn extent(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<Option<Extent>, LogError>> {
        self.log.extent(aggregate)
    }

    fn stored_at<'a>(&'a self, subject: &'a str, sequence: u64) -> BoxFuture<'a, Result<Option<Timestamp>, LogError>> {
        self.log.stored_at(subject, sequence)
    }

    fn end(&self, filter: Filter) -> BoxFuture<'_, Result<u64, LogError>> {
        self.log.end(filter)
    }

    fn follow(&self, after: u64, filter: Filter) -> BoxStream<'static, Delivery> {
        self.log.follow(after, filter)
    }

    fn incarnation(&self) -> &Incarnation {
        self.log.incarnation()
    }
}

/// The log and executor of a new replica.
struct Replica {
    log: Arc<CountingLog>,
    executor: Arc<Executor>,
    stop: CancellationToken,
}

impl Replica {
    async fn start(nats: &Nats, store: &MongoStore, lookup_timeout: Duration) -> Self {
        let log = nats.log().await;
        let (keyring, incarnation) = (Arc::clone(log.keyring()), log.incarnation().clone());
        let options = SnapshotOptions { lookup_timeout, ..SnapshotOptions::default() };
        let (snapshots, writer) = SnapshotManager::new(Arc::new(store.clone()), keyring, incarnation, options);
        let stop = CancellationToken::new();
        tokio::spawn(writer.run(stop.clone()));
        let log = Arc::new(CountingLog { log, read: AtomicUsize::new(0) });
        let executor = Executor::with_snapshots(Arc::clone(&log) as _, snapshots);
        Self { log, executor, stop }
    }

    /// Changes the person's instance; returns the sequence and the number of events read.
    async fn change(&self, person: &Person, to: DesiredState) -> (u64, usize) {
        let origin = Origin::new(Actor::System, "test");
        let instance_id = person.instances[0];
        let command = ChangeInstance { instance_id, to, now: clock::now(), policy: Policy::default() };
        wait_until("the command is executed", DEADLINE, async || {
            let before = self.log.read.load(Ordering::Relaxed);
            match self.executor.execute(person.id, origin.clone(), command).await {
                Ok(done) => {
                    assert!(done.stored.is_some());
                    Ok((done.current.sequence, self.log.read.load(Ordering::Relaxed) - before))
                }
                // On a busy machine the broker may take longer than the load's timeout.
                Err(ExecuteError::Unavailable(cause)) => Err(cause),
                Err(error) => panic!("{error:?}"),
            }
        })
        .await
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn subject(user: UserId) -> String {
    Tenancy::subject(user).to_string()
}

async fn connect(mongo: &Mongo) -> MongoStore {
    MongoStore::connect(&mongo.uri, &mongo.database).await.unwrap()
}

/// Waits for a snapshot that includes this sequence.
async fn wait_for_snapshot(store: &MongoStore, user: UserId, sequence: u64) {
    wait_until("the snapshot is stored", DEADLINE, async || {
        let found = store.snapshot(&subject(user)).await.unwrap().map(|snapshot| snapshot.sequence);
        if found.is_some_and(|found| found >= sequence) { Ok(()) } else { Err(format!("{found:?}, not {sequence}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshot_new_replica_loads_from_it() {
    const EVENTS: usize = 5000;
    let nats = Nats::start_unsynced().await;
    let mut seed = Seed::open(&nats, 4 * 24 * 60 * MINUTE, MINUTE).await;
    seed.machines(1, 10).await;
    let busy = seed.busy_person(EVENTS).await;
    let store = connect(&Mongo::shared().await).await;

    // Without a snapshot the first load reads everything, and then writes one.
    let first = Replica::start(&nats, &store, DEADLINE).await;
    let (sequence, read) = first.change(&busy, DesiredState::Running).await;
    assert!(read >= EVENTS, "{read}");
    wait_for_snapshot(&store, busy.id, seed.end()).await;
    drop(first);

    let second = Replica::start(&nats, &store, DEADLINE).await;
    let (next, read) = second.change(&busy, DesiredState::Stopped).await;
    assert!(next > sequence && read <= MAX_READ_WITH_SNAPSHOT, "{read}");
    let plain = Executor::new(Arc::new(nats.log().await)).state::<Tenancy>(busy.id).await.unwrap();
    let cached = second.executor.confirmed::<Tenancy>(busy.id).await.unwrap();
    assert_eq!((cached.sequence, &cached.state), (plain.sequence, &plain.state));

    // Without the database the load falls back to the log.
    let unreachable = MongoStore::connect("mongodb://127.0.0.1:1/?directConnection=true", "none").await.unwrap();
    let third = Replica::start(&nats, &unreachable, Duration::from_millis(50)).await;
    let (last, read) = third.change(&busy, DesiredState::Running).await;
    assert!(last > next && read > EVENTS, "{read}");
}

#[tokio::test]
async fn snapshot_server_writes_one_for_a_long_aggregate() {
    let mut nats = Nats::start_unsynced().await;
    let mut seed = Seed::open(&nats, 24 * 60 * MINUTE, MINUTE).await;
    seed.machines(1, 10).await;
    let busy = seed.busy_person(802).await;
    nats.reopen().await;
    let world = World::upon(nats, 1, &[]).await;
    let client: Client = world.client(0);
    let answer = client.post("/api/v2/user/signin", json!({ "username": busy.name, "password": PASSWORD })).await;
    let client = client.with_token(answer.data()["accessToken"].as_str().unwrap());
    let (path, body) = ("/api/v2/user/instance/stop", json!({ "instanceId": busy.instances[0] }));
    let stopping = client.json(reqwest::Method::PUT, path, &[("prefer", "respond-async")], body).await;
    assert_eq!(stopping.status, 202, "{stopping:?}");
    wait_for_snapshot(&connect(&world.mongo).await, busy.id, seed.end()).await;
}

#[tokio::test]
async fn snapshot_store_older_one_never_replaces_a_newer_one() {
    let mongo = connect(&Mongo::shared().await).await;
    let stores: [(&str, Arc<dyn SnapshotStore>); 2] =
        [("memory", Arc::new(MemorySnapshotStore::default())), ("MongoDB", Arc::new(mongo))];
    for (which, store) in stores {
        let user = UserId::from_uuid(clock::fresh_uuid());
        let aggregate = Tenancy::subject(user);
        let snapshot = |log: &str, fold_version, sequence| Snapshot {
            subject: subject(user),
            incarnation: log.to_owned().into(),
            fold_version,
            sequence,
            events: sequence,
            event: EventId::from_uuid(clock::fresh_uuid()),
            state: vec![0, 1, 255, u8::try_from(sequence).unwrap()],
        };
        assert_eq!(store.get(aggregate).await.unwrap(), None, "{which}");
        let put = async |snapshot: &Snapshot| store.put(snapshot.clone()).await.unwrap();
        let found = async || store.get(aggregate).await.unwrap().unwrap();
        let (old, new) = (snapshot("one", 1, 10), snapshot("one", 1, 20));
        for (offered, expected) in [(&old, &old), (&new, &new), (&old, &new), (&new, &new)] {
            put(offered).await;
            assert_eq!(&found().await, expected, "{which}");
        }
        // A snapshot of another fold version or log replaces a newer one, which its writer cannot use.
        for other in [snapshot("one", 2, 5), snapshot("one", 1, 4), snapshot("$two", 1, 3)] {
            put(&other).await;
            assert_eq!(found().await, other, "{which}");
        }
        // Concurrent writes: the newest stays.
        let all: Vec<_> = (30..60).map(|sequence| snapshot("$two", 1, sequence)).collect();
        futures::future::join_all(all.iter().map(put)).await;
        assert_eq!(found().await, *all.last().unwrap(), "{which}");
    }
}

#[tokio::test]
async fn snapshot_of_maximum_size_fits_into_a_document() {
    let store = connect(&Mongo::shared().await).await;
    let snapshot = |bytes| Snapshot {
        subject: format!("{bytes}"),
        incarnation: "one".to_owned().into(),
        fold_version: 1,
        sequence: 1,
        events: 1,
        event: EventId::from_uuid(clock::fresh_uuid()),
        state: vec![7; bytes],
    };
    let largest = snapshot(dockhost::execute::snapshots::MAX_SEALED_BYTES);
    store.save_snapshot(largest.clone()).await.unwrap();
    let found = wait_until("the snapshot is read", DEADLINE, async || store.snapshot(&largest.subject).await).await;
    assert!(found == Some(largest), "another snapshot than was stored");
    let too_large = store.save_snapshot(snapshot(17 << 20)).await;
    assert!(too_large.is_err(), "larger than the limit of a document");
}

#[tokio::test]
async fn store_everything_includes_snapshots() {
    let store = connect(&Mongo::shared().await).await;
    let snapshot = Snapshot {
        subject: "of-a-user".to_owned(),
        incarnation: "one".to_owned().into(),
        fold_version: 1,
        sequence: 1,
        events: 1,
        event: EventId::from_uuid(clock::fresh_uuid()),
        state: b"\xff a planted canary".to_vec(),
    };
    store.save_snapshot(snapshot).await.unwrap();
    let text = store.everything().await.unwrap()["snapshots"][0].to_string();
    assert!(text.contains("of-a-user") && text.contains("a planted canary"), "{text}");
}
