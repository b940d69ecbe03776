//! The documents stay correct if a projector crashes, is suspended, or runs twice.

use dockhost_projections::backends::Backends;
use dockhost_projections::users::Users;
use dockhost_projections::{LogEntry, ProjectionError, Projector, StoreError};

use super::events::{backend, connected, enrolled, signed_up, subject, user};
use super::{log, open, position, project, store};
use crate::harness::ports;

fn addresses(from: u64, to: u64) -> Vec<LogEntry> {
    (from..=to).map(|n| if n == 1 { enrolled(1, 1) } else { connected(n, 1, &format!("10.0.0.{n}")) }).collect()
}

#[tokio::test]
async fn projector_reopened_continues_from_its_checkpoint() {
    let store = store().await;
    assert_eq!(open::<Backends>(&store).await.position(), 0);
    project::<Backends>(&store, &addresses(1, 3)).await;
    let mut projector = open::<Backends>(&store).await;
    assert_eq!(projector.position(), 3);
    // It skips what it has, and may advance over events of other kinds.
    assert_eq!(projector.apply(&addresses(2, 4)).await.unwrap(), 4);
    assert_eq!(projector.advance(9).await.unwrap(), 9);
    assert_eq!(projector.advance(5).await.unwrap(), 9);
    assert_eq!(position::<Backends>(&store).await, 9);
    let document = store.backend(backend(1)).await.unwrap().value.unwrap();
    assert_eq!((document.address.as_deref(), document.seq), (Some("10.0.0.4"), 4));
}

#[tokio::test]
async fn projector_crash_between_documents_and_checkpoint_changes_nothing() {
    let store = store().await;
    let crashed = open::<Backends>(&store).await;
    let batch = crashed.fold_only(&addresses(1, 4)).await.unwrap();
    crashed.store_only(&batch).await.unwrap();
    drop(crashed);
    assert_eq!(position::<Backends>(&store).await, 0);
    let before = store.backend(backend(1)).await.unwrap().value.unwrap();

    let mut projector = open::<Backends>(&store).await;
    projector.apply(&addresses(1, 2)).await.unwrap();
    assert_eq!(
        store.backend(backend(1)).await.unwrap().value.unwrap(),
        before,
        "an older batch changed a newer document"
    );
    projector.apply(&addresses(3, 5)).await.unwrap();
    assert_eq!(store.backend(backend(1)).await.unwrap().value.unwrap().seq, 5);
}

#[tokio::test]
async fn projector_suspended_and_overtaken_changes_nothing() {
    let store = store().await;
    let mut suspended = open::<Backends>(&store).await;
    let batch = suspended.fold_only(&addresses(1, 2)).await.unwrap();
    project::<Backends>(&store, &addresses(1, 7)).await;
    let before = store.backend(backend(1)).await.unwrap().value.unwrap();

    suspended.store_only(&batch).await.unwrap();
    assert_eq!(store.backend(backend(1)).await.unwrap().value.unwrap(), before, "an older document passed the fence");
    assert_eq!(suspended.advance(2).await.unwrap(), 2);
    assert_eq!(position::<Backends>(&store).await, 7, "the checkpoint went back");
    suspended.apply(&addresses(3, 8)).await.unwrap();
    assert_eq!(position::<Backends>(&store).await, 8);
    assert_eq!(store.backend(backend(1)).await.unwrap().value.unwrap().address.as_deref(), Some("10.0.0.8"));
}

#[tokio::test]
async fn projector_run_three_times_at_once_yields_the_same_documents() {
    let store = store().await;
    let events: Vec<LogEntry> = (0..400_u64)
        .map(|n| {
            let machine = n % 4;
            if n < 4 { enrolled(n + 1, machine) } else { connected(n + 1, machine, &format!("10.0.0.{n}")) }
        })
        .collect();
    let run = async |batch: usize| {
        let mut projector = open::<Backends>(&store).await;
        for batch in events.chunks(batch) {
            projector.apply(batch).await.unwrap();
        }
    };
    tokio::join!(run(7), run(11), run(5));
    assert_eq!(position::<Backends>(&store).await, 400);
    for document in store.all_backends().await.unwrap() {
        let last = events.iter().rfind(|e| subject(e).ends_with(&document.backend_id.to_string()));
        assert_eq!(document.seq, last.unwrap().sequence());
        assert_eq!(document.address, Some(format!("10.0.0.{}", document.seq - 1)));
    }
}

#[tokio::test]
async fn projector_of_another_log_is_refused() {
    let store = store().await;
    let mut old = project::<Users>(&store, &[signed_up(5, 1, "ada@example.org")]).await;
    let error = Projector::<Users>::open(store.clone(), &log("two")).await.unwrap_err();
    assert!(matches!(error, ProjectionError::ForeignLog { model: "users", .. }), "{error:?}");
    assert_eq!(position::<Users>(&store).await, 5);
    // The projector of the stored log continues.
    old.apply(&[signed_up(6, 2, "bob@example.org")]).await.unwrap();
    assert!(store.user(user(2)).await.unwrap().is_some());
}

#[tokio::test]
async fn projector_events_out_of_order_are_refused() {
    let store = store().await;
    let mut projector = open::<Users>(&store).await;
    let batch = [signed_up(5, 1, "ada@example.org"), signed_up(4, 2, "bob@example.org")];
    let error = projector.apply(&batch).await.unwrap_err();
    assert!(matches!(error, ProjectionError::OutOfOrder { after: 5, sequence: 4, .. }), "{error:?}");
    assert_eq!(store.user(user(1)).await.unwrap(), None);
}

#[tokio::test]
async fn store_without_a_database_is_unavailable() {
    let port = ports::free();
    let uri = format!("mongodb://127.0.0.1:{port}/?directConnection=true");
    let store = dockhost_projections::MongoStore::connect(&uri, "nowhere").await.unwrap();
    let error = store.ping().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let error = store.user(user(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}
