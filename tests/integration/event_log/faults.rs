//! The log while the broker is unavailable, full, or does not reply.

use std::sync::atomic::Ordering;
use std::time::Duration;

use dockhost::broker::streams::{EVENTS, StreamOptions};
use dockhost::common::clock;
use dockhost::event_log::jetstream::LogOptions;
use dockhost::event_log::memory::Fault;
use dockhost::event_log::{AppendError, Delivery, EventLog, Filter, LogError};
use dockhost_domain::envelope::header;
use futures::TryStreamExt;
use tokio::time::timeout;

use super::world::{Live, Reader, World, at, options, sign_in, sign_up, user};
use crate::harness::wait::DEADLINE;
use crate::harness::wait_until;

async fn until_disconnected(live: &Live) {
    wait_until("the client is disconnected", DEADLINE, async || match live.client.connection_state() {
        async_nats::connection::State::Disconnected => Ok(()),
        state => Err(state),
    })
    .await;
}

#[tokio::test]
async fn append_while_disconnected_fails_at_once_and_stores_nothing_later() {
    // A call that waited for a reply would not end within the test.
    let mut live = Live::with(LogOptions { attempt_timeout: Duration::from_secs(3600), ..options() }).await;
    let ada = user();
    live.log.append(at(0, &sign_in(ada))).await.unwrap();
    live.nats.kill().await;
    until_disconnected(&live).await;
    let event = at(1, &sign_in(ada));
    let appended = timeout(DEADLINE, live.log.append(event)).await.expect("the append waits for a reply");
    assert!(matches!(appended, Err(AppendError::Unavailable(_))), "{appended:?}");
    let loaded = timeout(DEADLINE, live.log.load(sign_in(ada).aggregate, 0)).await.expect("the load waits for a reply");
    assert!(matches!(loaded, Err(LogError::Unavailable(_))), "{loaded:?}");
    live.nats.restart().await;
    wait_until("the client is connected again", DEADLINE, async || match live.client.connection_state() {
        async_nats::connection::State::Connected => Ok(()),
        state => Err(state),
    })
    .await;
    // What the client had kept would be sent before this append.
    let end = wait_until("the log is available", DEADLINE, async || {
        timeout(Duration::from_secs(5), live.log.end(Filter::All))
            .await
            .map_err(|_| "no reply".to_owned())?
            .map_err(|e| e.to_string())
    })
    .await;
    assert_eq!(end, 1);
    assert_eq!(live.log.append(at(1, &sign_in(ada))).await.unwrap(), 2);
}

#[tokio::test]
async fn reader_broker_restart_continues() {
    let mut live = Live::start().await;
    let ada = user();
    live.log.append(at(0, &sign_in(ada))).await.unwrap();
    let mut readers = [Reader(live.log.follow(0, Filter::All)), Reader(live.log.follow(0, Filter::Kind("session")))];
    for reader in &mut readers {
        assert_eq!(reader.event().await, 1);
        reader.caught_up().await;
    }
    for round in 1..=3 {
        live.nats.kill().await;
        until_disconnected(&live).await;
        // While the broker is away nothing is delivered, not even `Idle`.
        for reader in &mut readers {
            let delivery = reader.within(Duration::from_millis(200)).await;
            assert!(matches!(delivery, None | Some(Delivery::Idle)), "{delivery:?}");
            assert!(reader.within(Duration::from_millis(200)).await.is_none());
        }
        live.nats.restart().await;
        wait_until("the log is available", DEADLINE, async || live.log.end(Filter::All).await).await;
        let stored = live.log.append(at(round, &sign_in(ada))).await.unwrap();
        for reader in &mut readers {
            assert_eq!(reader.event().await, stored);
        }
    }
}

/// The consumer is deleted, and then paused, so that it sends heartbeats although there are messages.
#[tokio::test]
async fn reader_lost_or_stuck_consumer_is_created_again() {
    let live = Live::start().await;
    let ada = user();
    let mut reader = Reader(live.log.follow(0, Filter::All));
    reader.caught_up().await;
    let stream = async_nats::jetstream::new(live.client.clone()).get_stream(EVENTS).await.unwrap();
    let names: Vec<String> = stream.consumer_names().try_collect().await.unwrap();
    stream.delete_consumer(&names[0]).await.unwrap();
    assert_eq!(live.log.append(at(0, &sign_in(ada))).await.unwrap(), 1);
    assert_eq!(reader.event().await, 1);
    let names: Vec<String> = stream.consumer_names().try_collect().await.unwrap();
    let until = time::OffsetDateTime::from_unix_timestamp(clock::now().seconds() + 3600).unwrap();
    stream.pause_consumer(&names[0], until).await.unwrap();
    assert_eq!(live.log.append(at(1, &sign_in(ada))).await.unwrap(), 2);
    assert_eq!(reader.event().await, 2);
}

/// The event was stored by an attempt without a reply, and the broker no longer remembers its id.
#[tokio::test]
async fn append_stored_without_a_reply_is_found_by_id() {
    let live = Live::start().await;
    let mine = sign_in(user());
    let js = async_nats::jetstream::new(live.client.clone());
    let mut headers = async_nats::HeaderMap::new();
    headers.insert(header::ID, mine.meta.id.to_string());
    let subject = mine.aggregate.to_string();
    js.publish_with_headers(subject, headers, "".into()).await.unwrap().await.unwrap();
    live.put_raw(&mine.aggregate.to_string(), "another").await;
    assert_eq!(live.log.append(at(0, &mine)).await.unwrap(), 1);
    assert_eq!(live.log.end(Filter::All).await.unwrap(), 2);
}

/// The broker is paused, as behind a cut cable, while an append is in flight.
#[tokio::test]
async fn append_late_reply_is_stored_once() {
    let short = LogOptions {
        attempt_timeout: Duration::from_millis(200),
        append_timeout: Duration::from_secs(30),
        ..options()
    };
    let mut live = Live::with(short).await;
    let ada = user();
    live.nats.pause_node(0).await;
    let before = live.client.statistics().out_messages.load(Ordering::Relaxed);
    let log = live.log.clone();
    let append = tokio::spawn(async move { log.append(at(0, &sign_in(ada))).await });
    let sent = wait_until("three attempts were sent", DEADLINE, async || {
        match live.client.statistics().out_messages.load(Ordering::Relaxed) - before {
            sent @ 0..3 => Err(format!("{sent} sent")),
            sent => Ok(sent),
        }
    })
    .await;
    assert!(!append.is_finished(), "the append ended while the broker was paused, after {sent} attempts");
    live.nats.resume_node(0).await;
    assert_eq!(append.await.unwrap().unwrap(), 1);
    assert_eq!(live.log.end(Filter::All).await.unwrap(), 1);
}

#[tokio::test]
async fn append_without_a_reply_has_an_unknown_outcome() {
    let short = LogOptions {
        attempt_timeout: Duration::from_millis(100),
        append_timeout: Duration::from_millis(500),
        ..options()
    };
    let mut live = Live::with(short).await;
    live.nats.pause_node(0).await;
    for entries in [vec![at(0, &sign_in(user()))], vec![at(0, &sign_up(user())), at(0, &sign_in(user()))]] {
        // The second has personal values, and their key cannot be created: nothing was sent.
        let personal = entries.len() > 1;
        let error = live.log.append_batch(entries).await.unwrap_err();
        match error {
            AppendError::Unknown(_) if !personal => {}
            AppendError::Unavailable(_) if personal => {}
            other => panic!("{other:?}"),
        }
    }
    live.nats.resume_node(0).await;
}

#[tokio::test]
async fn append_full_log_is_refused_and_keeps_its_events() {
    let streams = StreamOptions { max_bytes: 4096, ..StreamOptions::default() };
    let live = Live::with(LogOptions { streams, ..options() }).await;
    let ada = user();
    let mut last = 0;
    let error = loop {
        match live.log.append(at(last, &sign_in(ada))).await {
            Ok(sequence) => last = sequence,
            Err(error) => break error,
        }
        assert!(last < 100, "{last} events in 4 KiB");
    };
    assert!(matches!(error, AppendError::Full), "{error:?}");
    let batch = vec![at(0, &sign_up(user())), at(last, &sign_in(ada))];
    let error = live.log.append_batch(batch).await.unwrap_err();
    assert!(matches!(error, AppendError::Full), "{error:?}");
    assert!(last > 0);
    assert_eq!(live.log.load(sign_in(ada).aggregate, 0).await.unwrap().len() as u64, last);
}

#[tokio::test]
async fn memory_log_injected_faults_return_their_errors() {
    let World::Memory(log) = World::memory() else { unreachable!() };
    let ada = user();
    let lost = sign_in(ada);
    log.fail_next(Fault::LostAnswer);
    log.fail_next(Fault::LostRequest);
    log.fail_next(Fault::Conflict);
    log.fail_next(Fault::Full);
    log.fail_next(Fault::Unavailable);
    assert!(matches!(log.append(at(0, &lost)).await, Err(AppendError::Unknown(_))));
    assert_eq!(log.end(Filter::All).await.unwrap(), 1);
    assert!(matches!(log.append(at(1, &sign_in(ada))).await, Err(AppendError::Unknown(_))));
    assert!(matches!(log.append(at(1, &sign_in(ada))).await, Err(AppendError::Conflict)));
    assert!(matches!(log.append(at(1, &sign_in(ada))).await, Err(AppendError::Full)));
    assert!(matches!(log.append(at(1, &sign_in(ada))).await, Err(AppendError::Unavailable(_))));
    assert_eq!(log.end(Filter::All).await.unwrap(), 1);
    // A repeated append finds the event whose reply was lost.
    assert_eq!(log.append(at(0, &lost)).await.unwrap(), 1);
    log.set_unavailable(true);
    assert!(matches!(log.append(at(1, &sign_in(ada))).await, Err(AppendError::Unavailable(_))));
    assert!(matches!(log.end(Filter::All).await, Err(LogError::Unavailable(_))));
    log.set_unavailable(false);
    assert_eq!(log.events().len(), 1);
}
