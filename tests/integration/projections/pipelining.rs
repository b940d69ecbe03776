//! A pipeline yields the same documents as one batch after the other.

use dockhost_projections::backends::Backends;
use dockhost_projections::pipeline::Pipeline;
use dockhost_projections::rebuild::rebuild;
use dockhost_projections::verify::verify;
use dockhost_projections::{LogEntry, MongoStore, ProjectionError};

use super::events::{Log, backend, connected, enrolled};
use super::{log, open, position, store};

/// Each batch changes documents of the one before.
fn events() -> Vec<LogEntry> {
    (1..=400_u64)
        .map(|n| if n <= 8 { enrolled(n, n % 8) } else { connected(n, n * 5 % 8, &format!("10.0.0.{n}")) })
        .collect()
}

async fn run(store: &MongoStore, events: &[LogEntry], size: usize) {
    let mut projector = open::<Backends>(store).await;
    let mut pipeline = Pipeline::default();
    for batch in events.chunks(size) {
        let (before, behind) = (batch[0].sequence() - 1, projector.position());
        let position = pipeline.push(&mut projector, batch).await.unwrap();
        assert!(position <= before.max(behind), "{position} is not stored yet");
    }
    assert_eq!(pipeline.flush(&mut projector).await.unwrap(), 400);
    assert_eq!(pipeline.flush(&mut projector).await.unwrap(), 400, "there was nothing left");
}

async fn assert_equal_to_log(store: &MongoStore, events: &[LogEntry]) {
    let comparison = verify::<Backends>(store, &Log::of(log("one"), events), &|_| {}).await.unwrap();
    assert!(comparison.is_equal(), "{comparison:#?}");
    assert_eq!((comparison.documents, comparison.position), (8, 400));
}

#[tokio::test]
async fn pipeline_yields_the_documents_of_the_log() {
    let store = store().await;
    run(&store, &events(), 7).await;
    assert_equal_to_log(&store, &events()).await;
}

#[tokio::test]
async fn pipeline_run_three_times_at_once_yields_the_same_documents() {
    let store = store().await;
    let events = events();
    tokio::join!(run(&store, &events, 7), run(&store, &events, 11), run(&store, &events, 50));
    assert_equal_to_log(&store, &events).await;
}

#[tokio::test]
async fn pipeline_dropped_before_flush_is_folded_again() {
    let store = store().await;
    let events = events();
    let mut projector = open::<Backends>(&store).await;
    let mut pipeline = Pipeline::default();
    for batch in events[..200].chunks(50) {
        pipeline.push(&mut projector, batch).await.unwrap();
    }
    drop(pipeline);
    assert_eq!((projector.position(), position::<Backends>(&store).await), (150, 150));
    let mut projector = open::<Backends>(&store).await;
    let mut pipeline = Pipeline::default();
    pipeline.push(&mut projector, &events[100..]).await.unwrap();
    pipeline.flush(&mut projector).await.unwrap();
    assert_equal_to_log(&store, &events).await;
}

#[tokio::test]
async fn pipeline_after_a_rebuild_is_superseded_and_loses_nothing() {
    let store = store().await;
    let events = events();
    let mut projector = open::<Backends>(&store).await;
    let mut pipeline = Pipeline::default();
    pipeline.push(&mut projector, &events[..100]).await.unwrap();
    pipeline.push(&mut projector, &events[100..200]).await.unwrap();
    rebuild::<Backends>(&store, &Log::of(log("one"), &events[..120]), &|_| {}).await.unwrap();
    let error = pipeline.push(&mut projector, &events[200..300]).await.unwrap_err();
    assert!(matches!(error, ProjectionError::Superseded { .. }), "{error:?}");
    assert_eq!(
        store.backend(backend(1)).await.unwrap().as_ref().unwrap().seq,
        117,
        "the pipeline wrote to the new documents"
    );

    let mut projector = open::<Backends>(&store).await;
    assert_eq!(projector.position(), 120);
    let mut pipeline = Pipeline::default();
    pipeline.push(&mut projector, &events[120..]).await.unwrap();
    pipeline.flush(&mut projector).await.unwrap();
    assert_equal_to_log(&store, &events).await;
}

#[tokio::test]
async fn pipeline_error_keeps_the_position_and_drops_the_batch() {
    let store = store().await;
    let events = events();
    let mut projector = open::<Backends>(&store).await;
    let mut pipeline = Pipeline::default();
    pipeline.push(&mut projector, &events[..100]).await.unwrap();
    let reordered = [events[150].clone(), events[149].clone()];
    let error = pipeline.push(&mut projector, &reordered).await.unwrap_err();
    assert!(matches!(error, ProjectionError::OutOfOrder { .. }), "{error:?}");
    // The batch before was stored, and the next one can be folded.
    assert_eq!(pipeline.flush(&mut projector).await.unwrap(), 100);
    pipeline.push(&mut projector, &events[100..]).await.unwrap();
    pipeline.flush(&mut projector).await.unwrap();
    assert_equal_to_log(&store, &events).await;
}
