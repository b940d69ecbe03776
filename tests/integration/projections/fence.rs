//! What keeps the documents right when a projector crashes, sleeps, or is not alone.

use dockhost_domain::envelope::RecordedEvent;
use dockhost_projections::backends::Backends;
use dockhost_projections::users::Users;
use dockhost_projections::{ProjectionError, Projector, StoreError};

use super::events::{backend, connected, enrolled, signed_up, user};
use super::{log, open, position, project, store};

fn addresses(from: u64, to: u64) -> Vec<RecordedEvent> {
    (from..=to).map(|n| if n == 1 { enrolled(1, 1) } else { connected(n, 1, &format!("10.0.0.{n}")) }).collect()
}

#[tokio::test]
async fn a_projector_goes_on_from_its_checkpoint() {
    let store = store().await;
    assert_eq!(open::<Backends>(&store).await.position(), 0);
    project::<Backends>(&store, &addresses(1, 3)).await;
    let mut projector = open::<Backends>(&store).await;
    assert_eq!(projector.position(), 3);
    // It may read again what it knows, and skip what is not for it.
    assert_eq!(projector.apply(&addresses(2, 4)).await.unwrap(), 4);
    assert_eq!(projector.advance(9).await.unwrap(), 9);
    assert_eq!(projector.advance(5).await.unwrap(), 9);
    assert_eq!(position::<Backends>(&store).await, 9);
    let document = store.backend(backend(1)).await.unwrap().value.unwrap();
    assert_eq!((document.address.as_deref(), document.seq), (Some("10.0.0.4"), 4));
}

#[tokio::test]
async fn a_crash_between_documents_and_checkpoint_is_harmless() {
    let store = store().await;
    let crashed = open::<Backends>(&store).await;
    let pending = crashed.fold(&addresses(1, 4)).await.unwrap();
    crashed.write(pending.folded).await.unwrap();
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
async fn a_projector_that_slept_changes_nothing_when_it_wakes() {
    let store = store().await;
    let mut sleeper = open::<Backends>(&store).await;
    let pending = sleeper.fold(&addresses(1, 2)).await.unwrap();
    project::<Backends>(&store, &addresses(1, 7)).await;
    let before = store.backend(backend(1)).await.unwrap().value.unwrap();

    sleeper.write(pending.folded).await.unwrap();
    assert_eq!(
        store.backend(backend(1)).await.unwrap().value.unwrap(),
        before,
        "the fence let an older document through"
    );
    assert_eq!(sleeper.advance(2).await.unwrap(), 2);
    assert_eq!(position::<Backends>(&store).await, 7, "the checkpoint went back");
    sleeper.apply(&addresses(3, 8)).await.unwrap();
    assert_eq!(position::<Backends>(&store).await, 8);
    assert_eq!(store.backend(backend(1)).await.unwrap().value.unwrap().address.as_deref(), Some("10.0.0.8"));
}

#[tokio::test]
async fn two_projectors_at_once_end_as_one() {
    let store = store().await;
    let events: Vec<RecordedEvent> = (0..400_u64)
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
        let last =
            events.iter().rfind(|e| e.envelope.aggregate.to_string().ends_with(&document.backend_id.to_string()));
        assert_eq!(document.seq, last.unwrap().sequence);
        assert_eq!(document.address, Some(format!("10.0.0.{}", document.seq - 1)));
    }
}

#[tokio::test]
async fn documents_of_another_log_are_never_caught_up() {
    let store = store().await;
    let mut old = project::<Users>(&store, &[signed_up(5, 1, "ada@example.org")]).await;
    let error = Projector::<Users>::open(store.clone(), &log("two")).await.unwrap_err();
    assert!(matches!(error, ProjectionError::ForeignLog { model: "users", .. }), "{error:?}");
    assert_eq!(position::<Users>(&store).await, 5);
    // The one that knows the log goes on.
    old.apply(&[signed_up(6, 2, "bob@example.org")]).await.unwrap();
    assert!(store.user(user(2)).await.unwrap().is_some());
}

#[tokio::test]
async fn events_in_another_order_are_refused() {
    let store = store().await;
    let mut projector = open::<Users>(&store).await;
    let batch = [signed_up(5, 1, "ada@example.org"), signed_up(4, 2, "bob@example.org")];
    let error = projector.apply(&batch).await.unwrap_err();
    assert!(matches!(error, ProjectionError::OutOfOrder { after: 5, sequence: 4, .. }), "{error:?}");
    assert_eq!(store.user(user(1)).await.unwrap(), None);
}

#[tokio::test]
async fn a_database_that_is_not_there_is_unavailable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let uri = format!("mongodb://127.0.0.1:{port}/?directConnection=true");
    let store = dockhost_projections::MongoStore::connect(&uri, "nowhere").await.unwrap();
    let error = store.ping().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let error = store.user(user(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}
