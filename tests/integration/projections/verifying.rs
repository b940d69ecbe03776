//! Verification finds every kind of difference, and no false one.

use std::sync::Mutex;

use dockhost_projections::backends::Backends;
use dockhost_projections::comparison::{Comparison, DifferenceKind};
use dockhost_projections::rebuild::rebuild;
use dockhost_projections::users::Users;
use dockhost_projections::verify::verify;
use dockhost_projections::{LogEntry, ProjectionError};

use super::events::{Log, connected, enrolled, signed_up, user};
use super::{log, open, project, store};

/// The comparison if the projector got `projected` and the log holds `recorded`.
async fn comparison(projected: &[LogEntry], recorded: &[LogEntry]) -> Comparison {
    let store = store().await;
    let mut projector = project::<Users>(&store, projected).await;
    projector.advance(recorded.last().unwrap().sequence()).await.unwrap();
    let last = Mutex::new(None);
    let history = Log::of(log("one"), recorded);
    let comparison =
        verify::<Users>(&store, &history, &|p| *last.lock().unwrap() = Some((p.done, p.total))).await.unwrap();
    let (done, total) = last.into_inner().unwrap().unwrap();
    assert_eq!(done, total);
    assert_eq!(comparison.is_equal(), comparison.differences.is_empty(), "{comparison:?}");
    comparison
}

#[tokio::test]
async fn verify_equal_documents_have_equal_digests() {
    let events = [signed_up(1, 1, "ada@example.org"), signed_up(4, 2, "bob@example.org")];
    let comparison = comparison(&events, &events).await;
    assert!(comparison.is_equal(), "{comparison:?}");
    assert_eq!((comparison.documents, comparison.position, comparison.stored), (2, 4, comparison.expected));
}

#[tokio::test]
async fn verify_names_each_difference() {
    let events = [signed_up(1, 1, "ada@example.org"), signed_up(4, 2, "bob@example.org")];
    let only = |comparison: Comparison, n: u64| {
        assert!(!comparison.is_equal());
        let [difference] = comparison.differences.try_into().unwrap();
        assert_eq!(difference.id, user(n).to_string());
        difference.kind
    };
    let altered = [signed_up(1, 1, "eve@example.org"), events[1].clone()];
    let DifferenceKind::Content(members) = only(comparison(&altered, &events).await, 1) else {
        panic!("not the content")
    };
    let members: Vec<_> = members.iter().map(ToString::to_string).collect();
    assert_eq!(members, [r#"email: expected "ada@example.org", stored "eve@example.org""#]);

    assert_eq!(only(comparison(&events[..1], &events).await, 2), DifferenceKind::Missing);
    let more = [events[0].clone(), signed_up(3, 9, "x@example.org"), events[1].clone()];
    assert_eq!(only(comparison(&more, &events).await, 9), DifferenceKind::Unexpected);
}

#[tokio::test]
async fn verify_finds_a_document_that_lacks_an_event() {
    let store = store().await;
    let events = [enrolled(1, 1), connected(2, 1, "10.0.0.1"), connected(3, 1, "10.0.0.2")];
    project::<Backends>(&store, &events[..2]).await.advance(3).await.unwrap();
    let comparison = verify::<Backends>(&store, &Log::of(log("one"), &events), &|_| {}).await.unwrap();
    assert_eq!(comparison.differences[0].kind, DifferenceKind::Behind { seq: 2, required: 3 });
    assert!(!comparison.is_equal());
}

#[tokio::test]
async fn verify_ignores_a_batch_before_its_checkpoint() {
    let store = store().await;
    let events = [enrolled(1, 1), enrolled(2, 2), connected(3, 1, "10.0.0.1"), connected(4, 2, "10.0.0.2")];
    let projector = project::<Backends>(&store, &events[..2]).await;
    projector.store_only(&projector.fold_only(&events[3..]).await.unwrap()).await.unwrap();
    let comparison = verify::<Backends>(&store, &Log::of(log("one"), &events), &|_| {}).await.unwrap();
    assert_eq!(comparison.position, 2);
    assert!(comparison.is_equal(), "{comparison:#?}");
}

/// Documents are ahead of the checkpoint meanwhile.
#[tokio::test]
async fn verify_beside_a_projector_finds_no_false_difference() {
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
            let comparison = verify::<Backends>(&store, &history, &|_| {}).await.unwrap();
            assert!(comparison.is_equal(), "{comparison:#?}");
            seen.insert(comparison.position);
        }
        seen.len()
    };
    let ((), positions) = tokio::join!(project, watch);
    assert!(positions > 3, "the projector did not run meanwhile");
}

#[tokio::test]
async fn verify_documents_of_another_log_are_refused() {
    let store = store().await;
    project::<Users>(&store, &[signed_up(1, 1, "ada@example.org")]).await;
    let error = verify::<Users>(&store, &Log::of(log("two"), &[]), &|_| {}).await.unwrap_err();
    assert!(matches!(error, ProjectionError::ForeignLog { .. }), "{error:?}");
}

#[tokio::test]
async fn verify_and_rebuild_refuse_a_log_that_lost_its_end() {
    let store = store().await;
    let events = [signed_up(1, 1, "ada@example.org"), signed_up(2, 2, "bob@example.org")];
    project::<Users>(&store, &events).await;
    let history = Log::of(log("one"), &events[..1]);
    let ahead = |error| matches!(error, ProjectionError::AheadOfLog { position: 2, end: 1, .. });
    assert!(ahead(verify::<Users>(&store, &history, &|_| {}).await.unwrap_err()));
    assert!(ahead(rebuild::<Users>(&store, &history, &|_| {}).await.unwrap_err()));
    assert!(store.user(user(2)).await.unwrap().is_some());
}

#[tokio::test]
async fn verify_compares_a_document_beyond_the_checkpoint_at_its_own_seq() {
    let store = store().await;
    let events = [enrolled(1, 1), enrolled(2, 2), connected(3, 1, "10.0.0.1"), connected(4, 2, "10.0.0.2")];
    let projector = project::<Backends>(&store, &events[..2]).await;
    let wrong = [connected(3, 1, "10.6.6.6"), connected(99, 2, "10.0.0.2"), enrolled(100, 3)];
    projector.store_only(&projector.fold_only(&wrong).await.unwrap()).await.unwrap();
    let comparison = verify::<Backends>(&store, &Log::of(log("one"), &events), &|_| {}).await.unwrap();
    assert_eq!((comparison.position, comparison.differences.len()), (2, 3));
    assert_ne!(comparison.stored, comparison.expected);
    let DifferenceKind::Content(first) = &comparison.differences[0].kind else { panic!("{comparison:#?}") };
    assert_eq!(first[0].to_string(), r#"address: expected "10.0.0.1", stored "10.6.6.6""#);
    let DifferenceKind::Content(second) = &comparison.differences[1].kind else { panic!("{comparison:#?}") };
    assert!(second.iter().any(|member| member.to_string() == "seq: expected 4, stored 99"), "{second:?}");
    assert_eq!(comparison.differences[2].kind, DifferenceKind::Unexpected);
}
