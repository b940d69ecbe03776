//! Barriers on a real broker.

use dockhost::broker::streams::EVENTS;
use dockhost::event_log::history::LogHistory;
use dockhost::event_log::jetstream::JetStreamLog;
use dockhost::event_log::{Delivery, EventLog, Extent, Filter, Freshness, Proof};
use dockhost_domain::subject::BARRIER;
use dockhost_projections::{History, LogEntry};
use futures::TryStreamExt;
use futures::future::join_all;

use super::world::{Live, Reader, at, master, options, sequences, sign_in, sign_up, user};
use crate::harness::Nats;

#[tokio::test]
async fn barrier_on_one_node_is_not_needed() {
    let live = Live::start().await;
    live.log.append(at(0, &sign_in(user()))).await.unwrap();
    assert_eq!(live.log.barrier(Freshness::now()).await.unwrap(), Proof::SingleCopy);
    assert_eq!(live.log.extent(sign_in(user()).aggregate).await.unwrap(), None);
    assert_eq!(live.log.end(Filter::All).await.unwrap(), 1);
}

#[tokio::test]
async fn barrier_on_three_nodes_is_acknowledged_and_skipped_by_readers() {
    let nats = Nats::cluster().await;
    let log = JetStreamLog::open(nats.main().await.client().clone(), master(1), options()).await.unwrap();
    let ada = user();
    let signed_up = sign_up(ada);
    log.append(at(0, &signed_up)).await.unwrap();
    assert_eq!(log.barrier(Freshness::now()).await.unwrap(), Proof::UpTo(2));
    log.append(at(0, &sign_in(ada))).await.unwrap();
    let age = std::time::Duration::from_secs(600);
    assert_eq!(log.barrier(Freshness::Within(age)).await.unwrap(), Proof::UpTo(3), "the append is a proof");

    let stream = nats.main().await.jetstream().get_stream(EVENTS).await.unwrap();
    let stored = stream.get_raw_message(2).await.unwrap();
    assert_eq!((stored.subject.as_str(), stored.headers.len(), stored.payload.len()), (BARRIER, 0, 0));

    let mut all = Reader(log.follow(0, Filter::All));
    assert_eq!(all.event().await, 1);
    assert!(matches!(all.next_busy().await, Delivery::Barrier(2)));
    assert_eq!(all.event().await, 3);
    all.caught_up().await;
    let mut accounts = Reader(log.follow(0, Filter::Kind("account")));
    assert_eq!(accounts.event().await, 1);
    accounts.caught_up().await;
    assert_eq!(sequences(&log.load(signed_up.aggregate, 0).await.unwrap()), [1]);
    assert_eq!(log.extent(signed_up.aggregate).await.unwrap(), Some(Extent { end: 3, events: 1 }));
    assert_eq!(log.extent(sign_up(user()).aggregate).await.unwrap(), Some(Extent { end: 3, events: 0 }));

    // At the end of the log, too.
    assert_eq!(log.barrier(Freshness::now()).await.unwrap(), Proof::UpTo(4));
    let history = LogHistory(std::sync::Arc::new(log.clone()));
    let entries: Vec<_> = history.read_all(0, history.end().await.unwrap()).try_collect().await.unwrap();
    assert_eq!(entries.iter().map(LogEntry::sequence).collect::<Vec<_>>(), [1, 3]);

    // Many questions at once share one barrier or two.
    let proofs = join_all((0..64).map(|_| log.barrier(Freshness::now()))).await;
    assert!(proofs.iter().all(Result::is_ok), "{proofs:?}");
    let end = log.end(Filter::All).await.unwrap();
    assert!((5..=6).contains(&end), "{end}");
}
