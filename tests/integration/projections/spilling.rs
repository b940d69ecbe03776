//! Verifications and rebuilds of a model that does not fit in memory yield the same result and leave nothing behind.

use bson::{Document, doc};
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::AggregateId;
use dockhost_projections::backends::Backends;
use dockhost_projections::comparison::DifferenceKind;
use dockhost_projections::instances::Instances;
use dockhost_projections::rebuild::{drop_replaced, rebuild_within};
use dockhost_projections::store::Cause;
use dockhost_projections::verify::{verify, verify_within};
use dockhost_projections::{History, LogEntry, MongoStore, ProjectionError, Projector};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::events::{Log, StalledLog, connected, enrolled, instance, requested, runs, user};
use super::{connect, log, open, project, store};
use crate::harness::wait::DEADLINE;
use crate::harness::{Mongo, wait_until};

/// Documents in memory: so few that most are evicted and read again.
const FEW: usize = 20;
const INSTANCES: u64 = 300;
const EVENTS: u64 = 5000;

/// Events of all instances in mixed order.
fn mixed() -> Vec<LogEntry> {
    let event = |n: u64| match n {
        1..=INSTANCES => requested(n, n % 7, n, &format!("web-{n}"), "key"),
        _ => {
            let id = n * 7919 % INSTANCES + 1;
            runs(n, id % 7, id)
        }
    };
    (1..=EVENTS).map(event).collect()
}

/// Scratch collections, of any model.
async fn scratch_collections(store: &MongoStore) -> Vec<String> {
    let names = store.collection_names().await.unwrap();
    names.into_iter().filter(|name| name.contains("scratch")).collect()
}

#[tokio::test]
async fn rebuild_and_verify_of_a_large_model_yield_the_result_of_a_small_one() {
    let store = store().await;
    let events = mixed();
    let history = Log::of(log("one"), &events);
    let rebuilt = rebuild_within::<Instances>(&store, &history, FEW, &|_| {}).await.unwrap();
    assert_eq!((rebuilt.documents, rebuilt.position), (300, EVENTS));
    let small = verify::<Instances>(&store, &history, &|_| {}).await.unwrap();
    assert!(small.is_equal(), "{small:?}");
    assert_eq!(small.documents, 300);
    let large = verify_within::<Instances>(&store, &history, FEW, &|_| {}).await.unwrap();
    assert_eq!(large, small);

    let again = rebuild_within::<Instances>(&store, &history, FEW, &|_| {}).await.unwrap();
    assert_eq!(again.before.as_ref(), Some(&small));
    drop_replaced(&store, std::slice::from_ref(&again)).await.unwrap();
    let mut names = store.collection_names().await.unwrap();
    names.sort();
    assert_eq!(names, ["checkpoints", again.collection.as_str()], "a collection was left");
}

#[tokio::test]
async fn verify_of_a_large_model_names_the_differences() {
    let store = store().await;
    let events = mixed();
    // One event is skipped, and one instance is not in the log.
    let (skipped, invented) = (3001, EVENTS + 10);
    let mut projected: Vec<_> = events.iter().filter(|event| event.sequence() != skipped).cloned().collect();
    projected.push(requested(invented, 1, 900, "ghost", "key"));
    project::<Instances>(&store, &projected).await.advance(EVENTS).await.unwrap();
    let mut events = events;
    events.push(runs(invented + 1, 3, 3));
    let history = Log::of(log("one"), &events);
    let comparison = verify_within::<Instances>(&store, &history, FEW, &|_| {}).await.unwrap();
    let small = verify::<Instances>(&store, &history, &|_| {}).await.unwrap();
    assert_eq!(comparison, small);
    let found: Vec<_> = comparison.differences.iter().map(|d| (d.id.clone(), d.kind.clone())).collect();
    assert!(found.contains(&(instance(900).to_string(), DifferenceKind::Unexpected)), "{found:?}");
    // The next event of the instance with the skipped event replaces what it had missed.
    assert!(scratch_collections(&store).await.is_empty());
}

#[tokio::test]
async fn verify_of_a_large_model_beside_a_projector_finds_no_false_difference() {
    let store = store().await;
    let events: Vec<_> = (1..=300_u64)
        .map(|n| if n <= 20 { enrolled(n, n) } else { connected(n, n % 20 + 1, &format!("10.0.0.{n}")) })
        .collect();
    let history = Log::of(log("one"), &events);
    let project = async {
        let mut projector = open::<Backends>(&store).await;
        for batch in events.chunks(5) {
            projector.apply(batch).await.unwrap();
        }
    };
    let watch = async {
        let mut seen = std::collections::BTreeSet::new();
        while seen.last() != Some(&300) {
            let comparison = verify_within::<Backends>(&store, &history, 3, &|_| {}).await.unwrap();
            assert!(comparison.is_equal(), "{comparison:#?}");
            seen.insert(comparison.position);
        }
        seen.len()
    };
    let ((), positions) = tokio::join!(project, watch);
    assert!(positions > 2, "the projector did not run meanwhile");
}

#[tokio::test]
async fn rebuild_and_verify_drop_what_interrupted_ones_left() {
    let mongo = Mongo::shared().await;
    let store = connect(&mongo).await;
    let events = mixed();
    let history = Log::of(log("one"), &events);
    project::<Instances>(&store, &events).await;
    let stalled = |rebuild: bool| {
        let (store, history) = (store.clone(), StalledLog(history.clone()));
        tokio::spawn(async move {
            if rebuild {
                drop(rebuild_within::<Instances>(&store, &history, FEW, &|_| {}).await);
            } else {
                drop(verify_within::<Instances>(&store, &history, FEW, &|_| {}).await);
            }
        })
    };
    for (rebuild, left) in [(false, "instances_scratch_"), (true, "instances_v2")] {
        let interrupted = stalled(rebuild);
        wait_until("something is written", DEADLINE, async || {
            let names = store.collection_names().await.unwrap();
            if names.iter().any(|name| name.starts_with(left)) { Ok(()) } else { Err(names.join(" ")) }
        })
        .await;
        interrupted.abort();
        assert!(interrupted.await.unwrap_err().is_cancelled());
    }
    // The live documents are unchanged.
    let comparison = verify_within::<Instances>(&store, &history, FEW, &|_| {}).await.unwrap();
    assert!(comparison.is_equal(), "{comparison:?}");
    assert_eq!(comparison.collection.as_str(), "instances_v1");
    wait_until("no scratch collection", DEADLINE, async || match scratch_collections(&store).await {
        none if none.is_empty() => Ok(()),
        // A command of the interrupted one may have been running.
        some => {
            verify::<Instances>(&store, &history, &|_| {}).await.unwrap();
            Err(some.join(" "))
        }
    })
    .await;
    let rebuilt = rebuild_within::<Instances>(&store, &history, FEW, &|_| {}).await.unwrap();
    assert_eq!(rebuilt.collection.as_str(), "instances_v3");
    drop_replaced(&store, &[rebuilt]).await.unwrap();
    let mut names = store.collection_names().await.unwrap();
    names.sort();
    assert_eq!(names, ["checkpoints", "instances_v3"]);
    assert_eq!(store.instances_of(user(1)).await.unwrap().len(), 43);
}

/// A log that, when asked for its end, changes a document of the collection that a rebuild fills.
struct Tampering(Log, mongodb::Collection<Document>);

impl History for Tampering {
    fn incarnation(&self) -> Incarnation {
        self.0.incarnation()
    }

    fn end(&self) -> BoxFuture<'_, Result<u64, Cause>> {
        async {
            self.1.update_one(doc! {}, doc! { "$set": { "hostname": "tampering" } }).await?;
            self.0.end().await
        }
        .boxed()
    }

    fn read_all(&self, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>> {
        self.0.read_all(after, to)
    }

    fn read(&self, kind: &'static str, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>> {
        self.0.read(kind, after, to)
    }

    fn read_one(&self, aggregate: AggregateId, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>> {
        self.0.read_one(aggregate, after, to)
    }
}

#[tokio::test]
async fn rebuild_with_a_changed_copy_does_not_switch() {
    let mongo = Mongo::shared().await;
    let store = connect(&mongo).await;
    let events = mixed();
    let history = Log::of(log("one"), &events);
    project::<Instances>(&store, &events).await;
    let client = mongodb::Client::with_uri_str(&mongo.uri).await.unwrap();
    let tampering = Tampering(history.clone(), client.database(&mongo.database).collection("instances_v2"));
    let refused = rebuild_within::<Instances>(&store, &tampering, FEW, &|_| {}).await.unwrap_err();
    assert!(matches!(refused, ProjectionError::BadCopy { model: "instances" }), "{refused:?}");
    let comparison = verify::<Instances>(&store, &history, &|_| {}).await.unwrap();
    assert!(comparison.is_equal() && comparison.collection.as_str() == "instances_v1", "{comparison:?}");
}

#[tokio::test]
async fn verify_of_an_aggregate_quarantined_by_another_program_compares_what_is_folded() {
    let store = store().await;
    let events = mixed();
    let history = Log::of(log("one"), &events);
    // Quarantines one of seven tenancies.
    let unreadable = 2000;
    let mut projector: Projector<Instances> = open(&store).await;
    projector.apply(&history.unreadable_at(&[unreadable]).entries()).await.unwrap();
    for capacity in [usize::MAX, FEW] {
        let comparison = verify_within::<Instances>(&store, &history, capacity, &|_| {}).await.unwrap();
        assert!(comparison.is_equal(), "{:#?}", comparison.differences);
        assert_eq!((comparison.quarantined, comparison.documents), (1, 300));
    }
    let rebuilt = rebuild_within::<Instances>(&store, &history, FEW, &|_| {}).await.unwrap();
    assert!(rebuilt.before.unwrap().is_equal());
    assert_eq!(rebuilt.quarantined, 0, "this program can read all events");
    let comparison = verify::<Instances>(&store, &history, &|_| {}).await.unwrap();
    assert!(comparison.is_equal() && comparison.quarantined == 0, "{comparison:?}");
    // To the older program the documents are further than it can fold.
    let older = verify_within::<Instances>(&store, &history.unreadable_at(&[unreadable]), FEW, &|_| {}).await.unwrap();
    assert!(!older.is_equal());
}
