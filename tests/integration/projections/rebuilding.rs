//! A rebuild ends at what the log says, and nobody notices it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dockhost_domain::envelope::RecordedEvent;
use dockhost_domain::tenancy::Status;
use dockhost_projections::instances::Instances;
use dockhost_projections::rebuild::{drop_replaced, rebuild, rebuild_within};
use dockhost_projections::users::Users;
use dockhost_projections::verify::verify;
use dockhost_projections::{MongoStore, ProjectionError, Projector};

use super::events::{Log, requested, runs, signed_up, user};
use super::{connect, log, open, position, project, store};
use crate::harness::wait::DEADLINE;
use crate::harness::{Mongo, wait_until};

#[tokio::test]
async fn a_rebuild_repairs_what_differs() {
    let store = store().await;
    let events = [signed_up(1, 1, "ada@example.org"), signed_up(4, 2, "bob@example.org")];
    project::<Users>(&store, &[signed_up(1, 1, "eve@example.org")]).await.advance(4).await.unwrap();
    let history = Log::of(log("one"), &events);
    let rebuilt = rebuild::<Users>(&store, &history, &mut |_| {}).await.unwrap();
    assert_eq!(rebuilt.before.unwrap().differences.len(), 2);
    assert_eq!((rebuilt.documents, rebuilt.position), (2, 4));
    assert_eq!((rebuilt.old.as_str(), rebuilt.collection.as_str()), ("users", "users_v2"));
    assert!(verify::<Users>(&store, &history, &mut |_| {}).await.unwrap().is_equal());

    // Another process, which never knew the old name.
    let rebuilt = rebuild::<Users>(&store, &history, &mut |_| {}).await.unwrap();
    assert!(rebuilt.before.unwrap().is_equal());
    assert_eq!(rebuilt.collection.as_str(), "users_v3");
    store.checkpoint::<Users>().await.unwrap();
    assert_eq!(store.user(user(1)).await.unwrap().unwrap().email.as_deref(), Some("ada@example.org"));
}

#[tokio::test]
async fn the_live_projector_is_told_and_goes_on_in_the_new_documents() {
    let store = store().await;
    let mut events = vec![signed_up(1, 1, "ada@example.org")];
    let mut projector = project::<Users>(&store, &events).await;
    rebuild::<Users>(&store, &Log::of(log("one"), &events), &mut |_| {}).await.unwrap();
    events.push(signed_up(2, 2, "bob@example.org"));
    let error = projector.apply(&events[1..]).await.unwrap_err();
    assert!(matches!(error, ProjectionError::Superseded { model: "users" }), "{error:?}");
    assert_eq!(position::<Users>(&store).await, 1);

    let mut projector = open::<Users>(&store).await;
    assert_eq!(projector.apply(&events).await.unwrap(), 2);
    assert!(store.user(user(2)).await.unwrap().is_some());
    assert!(verify::<Users>(&store, &Log::of(log("one"), &events), &mut |_| {}).await.unwrap().is_equal());
}

#[tokio::test]
async fn a_replica_that_knew_the_old_documents_reads_the_new_ones_when_it_looks_again_or_a_moment_later() {
    let mongo = Mongo::shared().await;
    let (store, replica, other) = (connect(&mongo).await, connect(&mongo).await, connect(&mongo).await);
    let events = [signed_up(1, 1, "ada@example.org"), signed_up(2, 2, "bob@example.org")];
    project::<Users>(&store, &events[..1]).await;
    assert!(replica.user(user(1)).await.unwrap().is_some());
    assert!(other.user(user(1)).await.unwrap().is_some());
    rebuild::<Users>(&store, &Log::of(log("one"), &events[..1]), &mut |_| {}).await.unwrap();
    project::<Users>(&store, &events[1..]).await;
    replica.refresh_location::<Users>().await.unwrap();
    assert!(replica.user(user(2)).await.unwrap().is_some(), "the replica read the old documents");
    wait_until("the other finds them", DEADLINE, async || {
        if other.user(user(2)).await.unwrap().is_some() { Ok(()) } else { Err("it reads the old documents") }
    })
    .await;
}

#[tokio::test]
async fn a_rebuild_takes_over_from_another_log() {
    let store = store().await;
    project::<Users>(&store, &[signed_up(90, 1, "eve@example.org")]).await;
    let history = Log::of(log("two"), &[signed_up(3, 1, "ada@example.org")]);
    let rebuilt = rebuild::<Users>(&store, &history, &mut |_| {}).await.unwrap();
    assert_eq!(rebuilt.before, None);
    assert_eq!(Projector::<Users>::open(store.clone(), &log("two")).await.unwrap().position(), 3);
    assert_eq!(store.user(user(1)).await.unwrap().unwrap().email.as_deref(), Some("ada@example.org"));
}

#[tokio::test]
async fn of_two_rebuilds_at_once_one_gives_way_and_the_documents_are_right() {
    let store = store().await;
    let events: Vec<_> = (1..=300).map(|n| signed_up(n, n, &format!("{n}@example.org"))).collect();
    let history = Log::of(log("one"), &events);
    let run = async || rebuild::<Users>(&store, &history, &mut |_| {}).await;
    let (a, b) = tokio::join!(run(), run());
    let done = [a, b].into_iter().filter(|result| match result {
        Ok(_) => true,
        Err(ProjectionError::Overtaken { .. }) => false,
        Err(other) => panic!("{other:?}"),
    });
    assert!(done.count() >= 1);
    let comparison = verify::<Users>(&store, &history, &mut |_| {}).await.unwrap();
    assert!(comparison.is_equal(), "{comparison:?}");
    assert_eq!(comparison.documents, 300);
}

/// Reads that fail, or find less than was there before, are what nobody may see.
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

/// The position of the model never goes back, whoever holds it.
async fn watch_position(store: MongoStore, done: Arc<AtomicBool>) {
    let mut last = 0;
    while !done.load(Ordering::SeqCst) {
        let now = position::<Instances>(&store).await;
        assert!(now >= last, "the position went back from {last} to {now}");
        last = now;
    }
}

#[tokio::test]
async fn nobody_notices_a_rebuild() {
    let mongo = Mongo::shared().await;
    let store = connect(&mongo).await;
    // Other replicas: what the rebuilding process learns, they don't know.
    let (replica, leader) = (connect(&mongo).await, connect(&mongo).await);
    let mut events: Vec<RecordedEvent> = Vec::new();
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
    // The machines report all the while, and the projector follows the checkpoint wherever it leads.
    let reporting = tokio::spawn({
        let (history, done) = (history.clone(), Arc::clone(&done));
        async move {
            let (mut sequence, mut superseded) = (100, 0);
            while !done.load(Ordering::SeqCst) {
                sequence += 1;
                let event = runs(sequence, 1, sequence % 50 + 1);
                history.append(event);
                let all: Vec<_> = {
                    use dockhost_projections::History;
                    use futures::TryStreamExt;
                    history.read("tenancy", projector.position(), sequence).try_collect().await.unwrap()
                };
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
    // As a small model is rebuilt, and as one that doesn't fit in memory.
    for capacity in [usize::MAX, 10] {
        let rebuilt = rebuild_within::<Instances>(&store, &history, capacity, &mut |_| {}).await.unwrap();
        assert!(rebuilt.before.unwrap().is_equal());
    }
    let last = rebuild::<Instances>(&store, &history, &mut |_| {}).await.unwrap();
    drop_replaced::<Instances>(&store, &last).await.unwrap();
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
    assert!(reporting.await.unwrap() >= 1, "the projector never noticed a rebuild");
    assert!(reads.load(Ordering::SeqCst) > 50);
    let mut projector = open::<Instances>(&store).await;
    let all: Vec<_> = {
        use dockhost_projections::History;
        use futures::TryStreamExt;
        history.read("tenancy", 0, u64::MAX - 1).try_collect().await.unwrap()
    };
    projector.apply(&all).await.unwrap();
    let comparison = verify::<Instances>(&store, &history, &mut |_| {}).await.unwrap();
    assert!(comparison.is_equal(), "{comparison:#?}");
}
