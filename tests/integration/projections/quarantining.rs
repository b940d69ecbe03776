//! An event that can't be read holds its own aggregate back, live as in a rebuild, until a program comes that can.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dockhost_domain::subject::AggregateId;
use dockhost_projections::backends::Backends;
use dockhost_projections::comparison::Comparison;
use dockhost_projections::quarantine::{LogItem, MAX_QUARANTINED};
use dockhost_projections::rebuild::rebuild;
use dockhost_projections::release::{Release, quarantined, release};
use dockhost_projections::users::Users;
use dockhost_projections::verify::verify;
use dockhost_projections::{LogEntry, MongoStore, ProjectionError, ReadModel, Unreadable};

use super::events::{Log, backend, connected, enrolled, signed_up, user};
use super::{connect, log, open, position, store};
use crate::harness::wait::DEADLINE;
use crate::harness::{Mongo, wait_until};

fn subject(n: u64) -> String {
    AggregateId::Backend(backend(n)).to_string()
}

/// Two machines; the second event of the first is of a type that an older program doesn't know.
fn machines() -> (Log, Log) {
    let events = [
        enrolled(1, 1),
        enrolled(2, 2),
        connected(3, 1, "10.0.0.3"),
        connected(4, 1, "10.0.0.4"),
        connected(5, 2, "10.0.0.5"),
    ];
    let newer = Log::of(log("one"), &events);
    (newer.unreadable_at(&[3]), newer)
}

async fn equal<M: ReadModel>(store: &MongoStore, log: &Log) -> Comparison {
    let comparison = verify::<M>(store, log, &mut |_| {}).await.unwrap();
    assert!(comparison.is_equal(), "{comparison:#?}");
    comparison
}

async fn address(store: &MongoStore, n: u64) -> (Option<String>, Option<u64>) {
    let shown = store.backend(backend(n)).await.unwrap();
    (shown.value.unwrap().address, shown.stale_since)
}

#[tokio::test]
async fn the_others_go_on_and_the_held_one_is_marked() {
    let store = store().await;
    let (older, _) = machines();
    let mut projector = open::<Backends>(&store).await;
    for batch in older.entries().chunks(2) {
        projector.apply(batch).await.unwrap();
    }
    assert_eq!(position::<Backends>(&store).await, 5, "the checkpoint passes what is held back");
    assert_eq!(address(&store, 1).await, (None, Some(3)));
    assert_eq!(address(&store, 2).await, (Some("10.0.0.5".to_owned()), None));
    assert_eq!(quarantined::<Backends>(&store).await.unwrap(), [Unreadable::new(subject(1), 3, "unknown type")]);
    assert_eq!(equal::<Backends>(&store, &older).await.quarantined, 1);

    // The next projector goes by the same list, whatever it reads first.
    let mut next = open::<Backends>(&store).await;
    next.apply(&[connected(6, 1, "10.0.0.6"), connected(7, 2, "10.0.0.7")]).await.unwrap();
    assert_eq!(address(&store, 1).await, (None, Some(3)));
    assert_eq!(address(&store, 2).await, (Some("10.0.0.7".to_owned()), None));
}

#[tokio::test]
async fn a_replica_that_knew_of_nothing_marks_what_is_held_a_moment_later() {
    let mongo = Mongo::shared().await;
    let (leader, replica) = (connect(&mongo).await, connect(&mongo).await);
    let (older, newer) = machines();
    let mut projector = open::<Backends>(&leader).await;
    projector.apply(&older.entries()[..2]).await.unwrap();
    assert_eq!(address(&replica, 1).await, (None, None));
    projector.apply(&older.entries()[2..]).await.unwrap();
    wait_until("it is marked", DEADLINE, async || match address(&replica, 1).await {
        (None, Some(3)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    // A replica that has to know looks again, and one that knows of anything is never wrong.
    let late = connect(&mongo).await;
    late.refresh_location::<Backends>().await.unwrap();
    assert_eq!(address(&late, 1).await, (None, Some(3)));
    release::<Backends>(&leader, &newer, &subject(1)).await.unwrap();
    assert_eq!(address(&replica, 1).await, (Some("10.0.0.4".to_owned()), None));
}

#[tokio::test]
async fn a_newer_program_releases_it_with_all_that_was_skipped() {
    let store = store().await;
    let (older, newer) = machines();
    let mut projector = open::<Backends>(&store).await;
    projector.apply(&older.entries()).await.unwrap();

    let again = release::<Backends>(&store, &older, &subject(1)).await.unwrap();
    assert_eq!(again, Release::StillUnreadable(Unreadable::new(subject(1), 3, "unknown type")));
    assert_eq!(release::<Backends>(&store, &newer, &subject(2)).await.unwrap(), Release::NotQuarantined);
    assert_eq!(release::<Backends>(&store, &newer, &subject(1)).await.unwrap(), Release::Released);
    assert_eq!(release::<Backends>(&store, &newer, &subject(1)).await.unwrap(), Release::NotQuarantined);
    assert_eq!(address(&store, 1).await, (Some("10.0.0.4".to_owned()), None));
    assert_eq!(equal::<Backends>(&store, &newer).await.quarantined, 0);

    // The projector that held it is told, and the next one folds it on.
    let more = [connected(6, 1, "10.0.0.6")];
    let error = projector.apply(&more).await.unwrap_err();
    assert!(matches!(error, ProjectionError::Superseded { model: "backends" }), "{error:?}");
    newer.append(more[0].clone());
    open::<Backends>(&store).await.apply(&more).await.unwrap();
    assert_eq!(address(&store, 1).await, (Some("10.0.0.6".to_owned()), None));
    equal::<Backends>(&store, &newer).await;
}

#[tokio::test]
async fn a_program_that_reads_a_little_more_folds_a_little_more() {
    let store = store().await;
    let (_, newest) = machines();
    let oldest = newest.unreadable_at(&[3, 4]);
    open::<Backends>(&store).await.apply(&oldest.entries()).await.unwrap();
    let newer = newest.unreadable_at(&[4]);
    let next = Unreadable::new(subject(1), 4, "unknown type");
    assert_eq!(release::<Backends>(&store, &newer, &subject(1)).await.unwrap(), Release::StillUnreadable(next.clone()));
    assert_eq!(quarantined::<Backends>(&store).await.unwrap(), [next]);
    assert_eq!(address(&store, 1).await, (Some("10.0.0.3".to_owned()), Some(4)));
    equal::<Backends>(&store, &newer).await;
}

#[tokio::test]
async fn two_projectors_never_lose_what_either_holds_back() {
    let store = store().await;
    let (older, newer) = machines();
    let (mut one, mut two) = (open::<Backends>(&store).await, open::<Backends>(&store).await);
    one.apply(&older.entries()).await.unwrap();
    // The other reads all of it: that is true too, but it went by a list that has changed.
    let error = two.apply(&newer.entries()).await.unwrap_err();
    assert!(matches!(error, ProjectionError::Superseded { .. }), "{error:?}");
    assert_eq!(quarantined::<Backends>(&store).await.unwrap().len(), 1);

    // And of two that hold different ones back, the later one is told.
    let (mut three, mut four) = (open::<Backends>(&store).await, open::<Backends>(&store).await);
    let bad = |sequence, n| LogEntry::Unreadable(Unreadable::new(subject(n), sequence, "bad JSON"));
    three.apply(&[bad(6, 2)]).await.unwrap();
    let error = four.apply(&[bad(6, 2), bad(7, 3)]).await.unwrap_err();
    assert!(matches!(error, ProjectionError::Superseded { .. }), "{error:?}");
    assert_eq!(quarantined::<Backends>(&store).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_rebuild_holds_back_the_same_and_a_newer_one_nothing() {
    let store = store().await;
    let (older, newer) = machines();
    let mut projector = open::<Backends>(&store).await;
    projector.apply(&older.entries()).await.unwrap();
    let rebuilt = rebuild::<Backends>(&store, &older, &mut |_| {}).await.unwrap();
    assert!(rebuilt.before.unwrap().is_equal());
    assert_eq!(rebuilt.quarantined, 1);
    assert_eq!(address(&store, 1).await, (None, Some(3)));
    equal::<Backends>(&store, &older).await;

    let rebuilt = rebuild::<Backends>(&store, &newer, &mut |_| {}).await.unwrap();
    assert_eq!(rebuilt.quarantined, 0);
    assert_eq!(address(&store, 1).await, (Some("10.0.0.4".to_owned()), None));
    equal::<Backends>(&store, &newer).await;
    let error = projector.apply(&[connected(6, 1, "10.0.0.6")]).await.unwrap_err();
    assert!(matches!(error, ProjectionError::Superseded { .. }), "{error:?}");
}

/// What stands in the log after a position, as its reader sees it.
fn after(log: &Log, position: u64) -> Vec<LogEntry> {
    log.entries().into_iter().filter(|entry| entry.sequence() > position).collect()
}

fn is_of_one(entry: &LogEntry) -> bool {
    entry.event().is_ok_and(|recorded| recorded.envelope.aggregate == AggregateId::Backend(backend(1)))
}

/// An older program takes over for a moment: the next event of the first machine is nothing that it can read.
async fn hold_again(store: &MongoStore, newer: &Log) {
    wait_until("the first machine is held back again", DEADLINE, async || {
        let mut older = open::<Backends>(store).await;
        let Some(next) = after(newer, older.position()).into_iter().find(is_of_one) else { return Err("no event") };
        let batch = after(&newer.unreadable_at(&[next.sequence()]), older.position());
        older.apply(&batch).await.map_err(|_| "another projector was faster")?;
        if quarantined::<Backends>(store).await.unwrap().is_empty() { Err("it was skipped") } else { Ok(()) }
    })
    .await;
}

/// The older projector moves the checkpoint all the while and skips what is tried again: nothing gets lost between.
#[tokio::test]
async fn a_release_beside_a_busy_projector_loses_nothing() {
    let mongo = Mongo::shared().await;
    let (leader, other) = (connect(&mongo).await, connect(&mongo).await);
    let (older, newer) = machines();
    let mut projector = open::<Backends>(&leader).await;
    projector.apply(&older.entries()).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let busy = tokio::spawn({
        let (newer, done) = (newer.clone(), Arc::clone(&done));
        async move {
            let (mut sequence, mut superseded) = (5_u64, 0);
            while !done.load(Ordering::SeqCst) {
                sequence += 1;
                let event = connected(sequence, sequence % 2 + 1, &format!("10.0.0.{sequence}"));
                newer.append(event);
                match projector.apply(&after(&newer, projector.position())).await {
                    Ok(_) => {}
                    Err(ProjectionError::Superseded { .. }) => {
                        superseded += 1;
                        projector = open::<Backends>(&leader).await;
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
            while projector.apply(&after(&newer, projector.position())).await.is_err() {
                projector = open::<Backends>(&leader).await;
            }
            superseded
        }
    });
    for _ in 0..10 {
        assert_eq!(release::<Backends>(&other, &newer, &subject(1)).await.unwrap(), Release::Released);
        let comparison = equal::<Backends>(&other, &newer).await;
        assert_eq!(comparison.quarantined, 0);
        hold_again(&other, &newer).await;
    }
    assert_eq!(release::<Backends>(&other, &newer, &subject(1)).await.unwrap(), Release::Released);
    done.store(true, Ordering::SeqCst);
    assert!(busy.await.unwrap() >= 1, "the projector never noticed");
    equal::<Backends>(&other, &newer).await;
    let last = newer.entries().into_iter().rfind(is_of_one).unwrap().sequence();
    assert_eq!(other.backend(backend(1)).await.unwrap().value.unwrap().seq, last);
}

#[tokio::test]
async fn too_many_stop_the_model_and_change_nothing() {
    let store = store().await;
    let mut projector = open::<Users>(&store).await;
    projector.apply(&[signed_up(1, 1, "ada@example.org")]).await.unwrap();
    let bad: Vec<LogEntry> = (0..=MAX_QUARANTINED as u64)
        .map(|n| {
            LogEntry::Unreadable(Unreadable::new(AggregateId::Account(user(n)).to_string(), n + 2, &"x".repeat(300)))
        })
        .collect();
    let error = projector.apply(&bad).await.unwrap_err();
    assert!(matches!(error, ProjectionError::QuarantineFull { model: "users" }), "{error:?}");
    assert_eq!((position::<Users>(&store).await, quarantined::<Users>(&store).await.unwrap().len()), (1, 0));
    // As many as there may be fit into one checkpoint.
    projector.apply(&bad[..MAX_QUARANTINED]).await.unwrap();
    assert_eq!(quarantined::<Users>(&store).await.unwrap().len(), MAX_QUARANTINED);
    assert!(store.user(user(1)).await.unwrap().is_some());
}
