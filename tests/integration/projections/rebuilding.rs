//! A rebuild yields the documents of the log, and neither readers nor the projector are disturbed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::Status;
use dockhost_projections::instances::Instances;
use dockhost_projections::rebuild::{Rebuilt, drop_replaced, rebuild, rebuild_all, rebuild_within};
use dockhost_projections::store::{Cause, MAX_QUARANTINED};
use dockhost_projections::users::Users;
use dockhost_projections::verify::{verify, verify_all};
use dockhost_projections::{History, LogEntry, ModelResult, MongoStore, ProjectionError, Projector, Unreadable};
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::events::{Log, after, connected, enrolled, requested, runs, signed_up, user};
use super::{connect, log, open, position, project, store};
use crate::harness::wait::DEADLINE;
use crate::harness::{Mongo, wait_until};

#[tokio::test]
async fn rebuild_of_wrong_documents_repairs_them() {
    let store = store().await;
    let events = [signed_up(1, 1, "ada@example.org"), signed_up(4, 2, "bob@example.org")];
    project::<Users>(&store, &[signed_up(1, 1, "eve@example.org")]).await.advance(4).await.unwrap();
    let history = Log::of(log("one"), &events);
    let rebuilt = rebuild::<Users>(&store, &history, &|_| {}).await.unwrap();
    assert_eq!(rebuilt.before.unwrap().differences.len(), 2);
    assert_eq!((rebuilt.documents, rebuilt.position), (2, 4));
    assert_eq!((rebuilt.old.as_str(), rebuilt.collection.as_str()), ("users_v1", "users_v2"));
    assert!(verify::<Users>(&store, &history, &|_| {}).await.unwrap().is_equal());

    // The number of the next collection rises.
    let rebuilt = rebuild::<Users>(&store, &history, &|_| {}).await.unwrap();
    assert!(rebuilt.before.unwrap().is_equal());
    assert_eq!(rebuilt.collection.as_str(), "users_v3");
    store.checkpoint::<Users>().await.unwrap();
    assert_eq!(store.user(user(1)).await.unwrap().unwrap().email.as_deref(), Some("ada@example.org"));
}

#[tokio::test]
async fn rebuild_supersedes_the_live_projector_which_continues_in_the_new_collection() {
    let store = store().await;
    let mut events = vec![signed_up(1, 1, "ada@example.org")];
    let mut projector = project::<Users>(&store, &events).await;
    rebuild::<Users>(&store, &Log::of(log("one"), &events), &|_| {}).await.unwrap();
    events.push(signed_up(2, 2, "bob@example.org"));
    let error = projector.apply(&events[1..]).await.unwrap_err();
    assert!(matches!(error, ProjectionError::Superseded { model: "users" }), "{error:?}");
    assert_eq!(position::<Users>(&store).await, 1);

    let mut projector = open::<Users>(&store).await;
    assert_eq!(projector.apply(&events).await.unwrap(), 2);
    assert!(store.user(user(2)).await.unwrap().is_some());
    assert!(verify::<Users>(&store, &Log::of(log("one"), &events), &|_| {}).await.unwrap().is_equal());
}

#[tokio::test]
async fn rebuild_is_read_by_other_replicas_at_once() {
    let mongo = Mongo::shared().await;
    let (store, replica, other) = (connect(&mongo).await, connect(&mongo).await, connect(&mongo).await);
    let events = [signed_up(1, 1, "ada@example.org"), signed_up(2, 2, "bob@example.org")];
    project::<Users>(&store, &events[..1]).await;
    assert!(replica.user(user(1)).await.unwrap().is_some());
    assert!(other.user(user(1)).await.unwrap().is_some());
    rebuild::<Users>(&store, &Log::of(log("one"), &events[..1]), &|_| {}).await.unwrap();
    project::<Users>(&store, &events[1..]).await;
    for other in [&replica, &other] {
        assert!(other.user(user(2)).await.unwrap().is_some(), "it reads the old collection");
    }
}

/// A log that counts its reads: of all kinds, and of one.
struct CountingLog(Log, AtomicU64, AtomicU64);

impl History for CountingLog {
    fn incarnation(&self) -> Incarnation {
        self.0.incarnation()
    }

    fn end(&self) -> BoxFuture<'_, Result<u64, Cause>> {
        self.0.end()
    }

    fn read_all(&self, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.read_all(after, to)
    }

    fn read(&self, kind: &'static str, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>> {
        self.2.fetch_add(1, Ordering::SeqCst);
        self.0.read(kind, after, to)
    }

    fn read_one(&self, aggregate: AggregateId, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>> {
        self.0.read_one(aggregate, after, to)
    }
}

#[tokio::test]
async fn rebuild_all_reads_the_log_once_and_an_error_of_one_model_does_not_affect_the_others() {
    let store = store().await;
    let backends = |n: u64| if n == 1 { enrolled(3, 1) } else { connected(n * 3, 1, "10.0.0.1") };
    let mut events = Vec::new();
    for n in 1..=1500 {
        events.extend([
            signed_up(n * 3 - 2, n, "x@example.org"),
            requested(n * 3 - 1, n % 9, n, "web", "key"),
            backends(n),
        ]);
    }
    let history = CountingLog(Log::of(log("one"), &events), AtomicU64::new(0), AtomicU64::new(0));
    let documents = |results: Vec<ModelResult<Rebuilt>>| -> Vec<_> {
        let documents = results.into_iter().map(|one| (one.model, one.result.map(|rebuilt| rebuilt.documents).ok()));
        // Other models have no events here.
        documents.filter(|(_, documents)| *documents != Some(0)).collect()
    };
    let expected = [("users", Some(1500)), ("backends", Some(1)), ("instances", Some(1500))];
    for scans in 1..=2 {
        let results = rebuild_all(&store, &history, None, &|_| {}).await.unwrap();
        assert_eq!(documents(results), expected);
        assert_eq!((history.1.load(Ordering::SeqCst), history.2.load(Ordering::SeqCst)), (scans, 0));
    }
    for ModelResult { model, result } in verify_all(&store, &history, None, &|_| {}).await.unwrap() {
        assert!(result.unwrap().is_equal(), "{model}");
    }
    let one = rebuild_all(&store, &history, Some("users"), &|_| {}).await.unwrap();
    assert_eq!(documents(one), [("users", Some(1500))]);
    assert_eq!(history.2.load(Ordering::SeqCst), 1, "one model uses a filtered read");

    // More users are unreadable than a quarantine can hold.
    let bad = (0..=MAX_QUARANTINED as u64).map(|n| {
        LogEntry::Unreadable(Unreadable::new(AggregateId::Account(user(9000 + n)).to_string(), 4501 + n, "bad"))
    });
    events.extend(bad);
    let results = rebuild_all(&store, &Log::of(log("one"), &events), None, &|_| {}).await.unwrap();
    let expected = [("users", None), ("backends", Some(1)), ("instances", Some(1500))];
    assert_eq!(documents(results), expected);
}

#[tokio::test]
async fn rebuild_replaces_documents_of_another_log() {
    let store = store().await;
    project::<Users>(&store, &[signed_up(90, 1, "eve@example.org")]).await;
    let history = Log::of(log("two"), &[signed_up(3, 1, "ada@example.org")]);
    let rebuilt = rebuild::<Users>(&store, &history, &|_| {}).await.unwrap();
    assert_eq!(rebuilt.before, None);
    assert_eq!(Projector::<Users>::open(store.clone(), &log("two")).await.unwrap().position(), 3);
    assert_eq!(store.user(user(1)).await.unwrap().unwrap().email.as_deref(), Some("ada@example.org"));
}

#[tokio::test]
async fn rebuild_run_twice_at_once_switches_once_and_yields_the_documents_of_the_log() {
    let store = store().await;
    let events: Vec<_> = (1..=300).map(|n| signed_up(n, n, &format!("{n}@example.org"))).collect();
    let history = Log::of(log("one"), &events);
    let run = async || rebuild::<Users>(&store, &history, &|_| {}).await;
    let (a, b) = tokio::join!(run(), run());
    let done = [a, b].into_iter().filter(|result| match result {
        Ok(_) => true,
        Err(ProjectionError::Overtaken { .. }) => false,
        Err(other) => panic!("{other:?}"),
    });
    assert!(done.count() >= 1);
    let comparison = verify::<Users>(&store, &history, &|_| {}).await.unwrap();
    assert!(comparison.is_equal(), "{comparison:?}");
    assert_eq!(comparison.documents, 300);
}

/// Reads until done; fails if a read fails or finds fewer instances than there are.
async fn read_until(store: MongoStore, done: Arc<AtomicBool>, reads: Arc<AtomicU64>) {
    let mut newest = 0;
    while !done.load(Ordering::SeqCst) {
        let listed = store.instances_of(user(1)).await.unwrap();
        assert_eq!(listed.len(), 50, "instances were missing");
        let seen = listed.iter().map(|instance| instance.seq).max().unwrap();
        assert!(listed.iter().all(|instance| instance.status == Status::Running));
        newest = newest.max(seen);
        reads.fetch_add(1, Ordering::SeqCst);
    }
    assert!(newest > 100);
}

/// Reads the position until done; fails if it goes back.
async fn watch_position(store: MongoStore, done: Arc<AtomicBool>) {
    let mut last = 0;
    while !done.load(Ordering::SeqCst) {
        let now = position::<Instances>(&store).await;
        assert!(now >= last, "the position went back from {last} to {now}");
        last = now;
    }
}

#[tokio::test]
async fn rebuild_beside_readers_and_a_projector_disturbs_neither() {
    let mongo = Mongo::shared().await;
    let store = connect(&mongo).await;
    // Other processes, which do not share the cached locations.
    let (replica, leader) = (connect(&mongo).await, connect(&mongo).await);
    let mut events: Vec<LogEntry> = Vec::new();
    for n in 1..=50_u64 {
        events.push(requested(n, 1, n, &format!("web-{n}"), "key"));
    }
    for n in 1..=50_u64 {
        events.push(runs(50 + n, 1, n));
    }
    let mut projector = project::<Instances>(&leader, &events).await;
    let history = Log::of(log("one"), &events);
    let (done, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut readers: Vec<_> =
        (0..4).map(|_| tokio::spawn(read_until(replica.clone(), Arc::clone(&done), Arc::clone(&reads)))).collect();
    readers.push(tokio::spawn(watch_position(connect(&mongo).await, Arc::clone(&done))));
    // Events are recorded meanwhile, and the projector reopens when it is superseded.
    let reporting = tokio::spawn({
        let (history, done) = (history.clone(), Arc::clone(&done));
        async move {
            let (mut sequence, mut superseded) = (100, 0);
            while !done.load(Ordering::SeqCst) {
                sequence += 1;
                let event = runs(sequence, 1, sequence % 50 + 1);
                history.append(event);
                let all = after(&history, projector.position());
                match projector.apply(&all).await {
                    Ok(_) => {}
                    Err(ProjectionError::Superseded { .. }) => {
                        superseded += 1;
                        projector = open::<Instances>(&leader).await;
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
            superseded
        }
    });
    // A model that fits in memory, and one that does not.
    for capacity in [usize::MAX, 10] {
        let rebuilt = rebuild_within::<Instances>(&store, &history, capacity, &|_| {}).await.unwrap();
        assert!(rebuilt.before.unwrap().is_equal());
    }
    let last = rebuild::<Instances>(&store, &history, &|_| {}).await.unwrap();
    drop_replaced(&store, &[last]).await.unwrap();
    let dropped_at = reads.load(Ordering::SeqCst);
    wait_until("reads after the drop", DEADLINE, async || match reads.load(Ordering::SeqCst) - dropped_at {
        enough if enough >= 20 => Ok(()),
        _ if readers.iter().any(tokio::task::JoinHandle::is_finished) => Ok(()),
        few => Err(format!("{few} reads")),
    })
    .await;
    done.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.unwrap();
    }
    assert!(reporting.await.unwrap() >= 1, "no rebuild superseded the projector");
    assert!(reads.load(Ordering::SeqCst) > 50);
    let mut projector = open::<Instances>(&store).await;
    let all = history.entries();
    projector.apply(&all).await.unwrap();
    let comparison = verify::<Instances>(&store, &history, &|_| {}).await.unwrap();
    assert!(comparison.is_equal(), "{comparison:#?}");
}
