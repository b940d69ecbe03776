//! An event that can't be read quarantines its aggregate, live and in a rebuild, until a program can read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dockhost_domain::subject::AggregateId;
use dockhost_projections::backends::Backends;
use dockhost_projections::comparison::Comparison;
use dockhost_projections::quarantined::{Retried, quarantined_by_model, retry_in_all};
use dockhost_projections::rebuild::rebuild;
use dockhost_projections::release::{Release, quarantined, release};
use dockhost_projections::store::MAX_QUARANTINED;
use dockhost_projections::users::Users;
use dockhost_projections::verify::verify;
use dockhost_projections::{LogEntry, MongoStore, ProjectionError, ReadModel, Unreadable};

use super::events::{self, Log, after, backend, connected, enrolled, signed_up, user};
use super::{connect, log, open, position, store};
use crate::harness::wait::DEADLINE;
use crate::harness::{Mongo, wait_until};

fn subject(n: u64) -> String {
    AggregateId::Backend(backend(n)).to_string()
}

/// Two backends, as an older program reads them, which does not know the type of the second event of the first one, and
/// as a newer one does.
fn logs() -> (Log, Log) {
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
    let comparison = verify::<M>(store, log, &|_| {}).await.unwrap();
    assert!(comparison.is_equal(), "{comparison:#?}");
    comparison
}

async fn address(store: &MongoStore, n: u64) -> (Option<String>, Option<u64>) {
    let shown = store.backend(backend(n)).await.unwrap();
    (shown.value.unwrap().address, shown.stale_since)
}

#[tokio::test]
async fn projector_unreadable_event_quarantines_its_aggregate_and_continues_with_others() {
    let store = store().await;
    let (older, _) = logs();
    let mut projector = open::<Backends>(&store).await;
    for batch in older.entries().chunks(2) {
        projector.apply(batch).await.unwrap();
    }
    assert_eq!(position::<Backends>(&store).await, 5, "the checkpoint passes the unreadable event");
    assert_eq!(address(&store, 1).await, (None, Some(3)));
    assert_eq!(address(&store, 2).await, (Some("10.0.0.5".to_owned()), None));
    assert_eq!(quarantined::<Backends>(&store).await.unwrap(), [Unreadable::new(subject(1), 3, "unknown type")]);
    assert_eq!(equal::<Backends>(&store, &older).await.quarantined, 1);

    // The next projector has the same quarantine.
    let mut next = open::<Backends>(&store).await;
    next.apply(&[connected(6, 1, "10.0.0.6"), connected(7, 2, "10.0.0.7")]).await.unwrap();
    assert_eq!(address(&store, 1).await, (None, Some(3)));
    assert_eq!(address(&store, 2).await, (Some("10.0.0.7".to_owned()), None));
}

#[tokio::test]
async fn query_on_another_replica_is_marked_stale_at_once_after_quarantine() {
    let mongo = Mongo::shared().await;
    let (leader, replica) = (connect(&mongo).await, connect(&mongo).await);
    let (older, newer) = logs();
    let mut projector = open::<Backends>(&leader).await;
    projector.apply(&older.entries()[..2]).await.unwrap();
    assert_eq!(address(&replica, 1).await, (None, None));
    projector.apply(&older.entries()[2..]).await.unwrap();
    for other in [&replica, &connect(&mongo).await] {
        assert_eq!(address(other, 1).await, (None, Some(3)));
    }
    release::<Backends>(&leader, &newer, &subject(1)).await.unwrap();
    assert_eq!(address(&replica, 1).await, (Some("10.0.0.4".to_owned()), None));
}

#[tokio::test]
async fn release_by_a_newer_program_folds_what_was_skipped() {
    let store = store().await;
    let (older, newer) = logs();
    let mut projector = open::<Backends>(&store).await;
    projector.apply(&older.entries()).await.unwrap();

    let again = release::<Backends>(&store, &older, &subject(1)).await.unwrap();
    assert_eq!(again, Release::StillUnreadable(Unreadable::new(subject(1), 3, "unknown type")));
    assert_eq!(release::<Backends>(&store, &newer, &subject(2)).await.unwrap(), Release::NotQuarantined);
    assert_eq!(release::<Backends>(&store, &newer, &subject(1)).await.unwrap(), Release::Released);
    assert_eq!(release::<Backends>(&store, &newer, &subject(1)).await.unwrap(), Release::NotQuarantined);
    assert_eq!(address(&store, 1).await, (Some("10.0.0.4".to_owned()), None));
    assert_eq!(equal::<Backends>(&store, &newer).await.quarantined, 0);

    // The projector is superseded, which it finds out also while nothing happens, and the next one folds the aggregate.
    let idle = projector.check_documents().await.unwrap_err();
    assert!(matches!(idle, ProjectionError::Superseded { model: "backends" }), "{idle:?}");
    let more = [connected(6, 1, "10.0.0.6")];
    let error = projector.apply(&more).await.unwrap_err();
    assert!(matches!(error, ProjectionError::Superseded { model: "backends" }), "{error:?}");
    newer.append(more[0].clone());
    open::<Backends>(&store).await.apply(&more).await.unwrap();
    assert_eq!(address(&store, 1).await, (Some("10.0.0.6".to_owned()), None));
    equal::<Backends>(&store, &newer).await;
}

#[tokio::test]
async fn retry_in_all_models_releases_where_the_aggregate_is_quarantined() {
    let store = store().await;
    let (older, newer) = logs();
    let mut projector = open::<Backends>(&store).await;
    projector.apply(&older.entries()).await.unwrap();
    projector.check_documents().await.unwrap();
    let event = Unreadable::new(subject(1), 3, "unknown type");
    assert_eq!(quarantined_by_model(&store).await.unwrap(), [("backends", event.clone())]);
    let still = Retried { model: "backends", still: Some(event) };
    assert_eq!(retry_in_all(&store, &older, &subject(1)).await.unwrap(), [still]);
    assert_eq!(retry_in_all(&store, &newer, &subject(2)).await.unwrap(), []);
    // Two administrators at once: each aggregate is released once, and its documents are right.
    let subject = subject(1);
    let both = tokio::join!(retry_in_all(&store, &newer, &subject), retry_in_all(&store, &newer, &subject));
    let released = [both.0.unwrap(), both.1.unwrap()].concat();
    assert_eq!(released, [Retried { model: "backends", still: None }]);
    assert_eq!(quarantined_by_model(&store).await.unwrap(), []);
    assert_eq!(equal::<Backends>(&store, &newer).await.quarantined, 0);
}

#[tokio::test]
async fn release_up_to_the_next_unreadable_event_quarantines_from_there() {
    let store = store().await;
    let (_, newest) = logs();
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
async fn projector_with_an_old_quarantine_is_superseded() {
    let store = store().await;
    let (older, newer) = logs();
    let (mut one, mut two) = (open::<Backends>(&store).await, open::<Backends>(&store).await);
    one.apply(&older.entries()).await.unwrap();
    // The other one can read everything, but has an old quarantine.
    let error = two.apply(&newer.entries()).await.unwrap_err();
    assert!(matches!(error, ProjectionError::Superseded { .. }), "{error:?}");
    assert_eq!(quarantined::<Backends>(&store).await.unwrap().len(), 1);

    // Of two that quarantine different aggregates, the later one is superseded.
    let (mut three, mut four) = (open::<Backends>(&store).await, open::<Backends>(&store).await);
    let bad = |sequence, n| LogEntry::Unreadable(Unreadable::new(subject(n), sequence, "bad JSON"));
    three.apply(&[bad(6, 2)]).await.unwrap();
    let error = four.apply(&[bad(6, 2), bad(7, 3)]).await.unwrap_err();
    assert!(matches!(error, ProjectionError::Superseded { .. }), "{error:?}");
    assert_eq!(quarantined::<Backends>(&store).await.unwrap().len(), 2);
}

#[tokio::test]
async fn rebuild_quarantines_what_its_program_cannot_read() {
    let store = store().await;
    let (older, newer) = logs();
    let mut projector = open::<Backends>(&store).await;
    projector.apply(&older.entries()).await.unwrap();
    let rebuilt = rebuild::<Backends>(&store, &older, &|_| {}).await.unwrap();
    assert!(rebuilt.before.unwrap().is_equal());
    assert_eq!(rebuilt.quarantined, 1);
    assert_eq!(address(&store, 1).await, (None, Some(3)));
    equal::<Backends>(&store, &older).await;

    let rebuilt = rebuild::<Backends>(&store, &newer, &|_| {}).await.unwrap();
    assert_eq!(rebuilt.quarantined, 0);
    assert_eq!(address(&store, 1).await, (Some("10.0.0.4".to_owned()), None));
    equal::<Backends>(&store, &newer).await;
    let error = projector.apply(&[connected(6, 1, "10.0.0.6")]).await.unwrap_err();
    assert!(matches!(error, ProjectionError::Superseded { .. }), "{error:?}");
}

fn is_of_one(entry: &LogEntry) -> bool {
    events::subject(entry) == subject(1)
}

/// An older program projects for a moment and can't read the next event of the first backend.
async fn quarantine_again(store: &MongoStore, newer: &Log) {
    wait_until("the first backend is quarantined again", DEADLINE, async || {
        let mut older = open::<Backends>(store).await;
        let Some(next) = after(newer, older.position()).into_iter().find(is_of_one) else { return Err("no event") };
        let batch = after(&newer.unreadable_at(&[next.sequence()]), older.position());
        older.apply(&batch).await.map_err(|_| "another projector was faster")?;
        if quarantined::<Backends>(store).await.unwrap().is_empty() { Err("it is not") } else { Ok(()) }
    })
    .await;
}

/// The older projector advances the checkpoint meanwhile and skips the aggregate.
#[tokio::test]
async fn release_beside_a_busy_projector_loses_no_event() {
    let mongo = Mongo::shared().await;
    let (leader, other) = (connect(&mongo).await, connect(&mongo).await);
    let (older, newer) = logs();
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
        quarantine_again(&other, &newer).await;
    }
    assert_eq!(release::<Backends>(&other, &newer, &subject(1)).await.unwrap(), Release::Released);
    done.store(true, Ordering::SeqCst);
    assert!(busy.await.unwrap() >= 1, "the projector was never superseded");
    equal::<Backends>(&other, &newer).await;
    let last = newer.entries().into_iter().rfind(is_of_one).unwrap().sequence();
    assert_eq!(other.backend(backend(1)).await.unwrap().value.unwrap().seq, last);
}

#[tokio::test]
async fn projector_with_a_full_quarantine_stops_and_changes_nothing() {
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
    // The largest quarantine fits into one checkpoint.
    projector.apply(&bad[..MAX_QUARANTINED]).await.unwrap();
    assert_eq!(quarantined::<Users>(&store).await.unwrap().len(), MAX_QUARANTINED);
    assert!(store.user(user(1)).await.unwrap().is_some());
}
