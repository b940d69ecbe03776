//! The durable reader.

use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use dockhost::broker::streams::EVENTS;
use dockhost::event_log::durable::{DurableDelivery, DurableReader};
use dockhost::event_log::{Delivery, EventLog, Filter};

use super::world::{Live, at, sign_in, sign_up, user};
use crate::harness::wait::DEADLINE;
use crate::harness::wait_until;

fn sequence(job: &DurableDelivery) -> u64 {
    match &job.delivery {
        Delivery::Event(recorded) => recorded.sequence,
        Delivery::Unreadable { sequence, .. } => *sequence,
        other => panic!("{other:?}"),
    }
}

async fn deliveries(reader: &mut DurableReader, count: usize) -> Vec<DurableDelivery> {
    let mut deliveries = Vec::new();
    while deliveries.len() < count {
        let more = reader.next_batch(count - deliveries.len(), DEADLINE).await.unwrap();
        assert!(!more.is_empty(), "only {} of {count} deliveries came", deliveries.len());
        deliveries.extend(more);
    }
    deliveries
}

#[tokio::test]
async fn what_was_acknowledged_does_not_come_again_and_the_rest_does() {
    let mut live = Live::start().await;
    let ada = user();
    live.log.append(at(0, &sign_up(ada))).await.unwrap();
    for expected in [0, 2, 3] {
        live.log.append(at(expected, &sign_in(ada))).await.unwrap();
    }
    live.put_raw("dockhost.event.session.nonsense", "nonsense").await;
    let mut reader = live.log.durable("role", Filter::Kind("session")).await.unwrap();
    let mut first = deliveries(&mut reader, 4).await;
    assert_eq!(first.iter().map(sequence).collect::<Vec<_>>(), [2, 3, 4, 5]);
    assert!(matches!(first[3].delivery, Delivery::Unreadable { .. }));
    // 3 could not be done, the others were.
    first.remove(1).ack.retry_after(Duration::from_millis(10)).await.unwrap();
    for job in first {
        job.ack.confirm().await.unwrap();
    }
    let again = deliveries(&mut reader, 1).await.remove(0);
    assert_eq!(sequence(&again), 3);
    again.ack.confirm().await.unwrap();
    // An acknowledgement is not answered.
    let stream = async_nats::jetstream::new(live.client.clone()).get_stream(EVENTS).await.unwrap();
    wait_until("all is acknowledged", DEADLINE, async || match stream.consumer_info("role").await {
        Ok(info) if info.ack_floor.stream_sequence == 5 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    // Another process takes it over.
    drop(reader);
    live.log.append(at(4, &sign_in(ada))).await.unwrap();
    let mut reader = live.log.durable("role", Filter::Kind("session")).await.unwrap();
    let next = deliveries(&mut reader, 1).await.remove(0);
    assert_eq!(sequence(&next), 6);
    next.ack.confirm().await.unwrap();
    assert!(reader.next_batch(10, Duration::from_millis(300)).await.unwrap().is_empty());
    // The broker keeps acknowledgements lazily: when it crashes, some of the work comes again, and none is left out.
    drop(reader);
    live.nats.restart().await;
    wait_until("the log is back", DEADLINE, async || live.log.end(Filter::All).await).await;
    live.log.append(at(6, &sign_in(ada))).await.unwrap();
    let mut reader = live.log.durable("role", Filter::Kind("session")).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&7) {
        let job = deliveries(&mut reader, 1).await.remove(0);
        seen.push(sequence(&job));
        job.ack.confirm().await.unwrap();
    }
    let tail: Vec<u64> = (2..=7).collect();
    assert!(tail.ends_with(&seen), "{seen:?}");
}

/// A reader that was open when the broker restarted, and one job stored since.
async fn a_reader_from_before_a_restart() -> (Live, DurableReader) {
    let mut live = Live::start().await;
    let mut reader = live.log.durable("role", Filter::All).await.unwrap();
    assert!(reader.next_batch(10, Duration::from_millis(100)).await.unwrap().is_empty());
    live.nats.restart().await;
    wait_until("the log is back", DEADLINE, async || live.log.end(Filter::All).await).await;
    live.log.append(at(0, &sign_in(user()))).await.unwrap();
    (live, reader)
}

#[tokio::test]
async fn a_reader_heals_when_the_broker_comes_back() {
    let (_live, mut reader) = a_reader_from_before_a_restart().await;
    let seen = wait_until("the job comes", DEADLINE, async || match reader.next_batch(10, DEADLINE).await {
        Ok(deliveries) if deliveries.is_empty() => Err("no job".to_owned()),
        Ok(deliveries) => Ok(deliveries.iter().map(sequence).collect::<Vec<_>>()),
        Err(error) => Err(format!("{error:?}")),
    })
    .await;
    assert_eq!(seen, [1]);
}

/// A role looks around between batches, so it waits less than the reader needs to find out that nobody speaks.
#[tokio::test]
async fn a_reader_that_never_waits_long_heals_too() {
    let (_live, mut reader) = a_reader_from_before_a_restart().await;
    wait_until("the job comes", DEADLINE, async || match reader.next_batch(10, Duration::from_millis(300)).await {
        Ok(deliveries) if deliveries.is_empty() => Err("no job".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{error:?}")),
    })
    .await;
}

#[tokio::test]
async fn a_successor_gets_what_its_predecessor_had_in_hand_and_all_that_follows() {
    let live = Live::start().await;
    let ada = user();
    for expected in 0..3 {
        live.log.append(at(expected, &sign_in(ada))).await.unwrap();
    }
    // This one hangs with two of three in hand, and with pull requests that ask for more.
    let mut hangs = live.log.durable("role", Filter::All).await.unwrap();
    let mut in_hand = deliveries(&mut hangs, 3).await;
    in_hand.remove(0).ack.confirm().await.unwrap();
    let stream = async_nats::jetstream::new(live.client.clone()).get_stream(EVENTS).await.unwrap();
    wait_until("one is acknowledged", DEADLINE, async || match stream.consumer_info("role").await {
        Ok(info) if info.ack_floor.stream_sequence == 1 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let mut successor = live.log.durable("role", Filter::All).await.unwrap();
    live.log.append(at(3, &sign_in(ada))).await.unwrap();
    let taken = deliveries(&mut successor, 3).await;
    assert_eq!(taken.iter().map(sequence).collect::<Vec<_>>(), [2, 3, 4]);
}

#[tokio::test]
async fn a_successor_of_one_who_died_while_taking_over_goes_on_there() {
    let live = Live::start().await;
    let ada = user();
    for expected in 0..5 {
        live.log.append(at(expected, &sign_in(ada))).await.unwrap();
    }
    let mut reader = live.log.durable("role", Filter::All).await.unwrap();
    for job in deliveries(&mut reader, 3).await {
        job.ack.confirm().await.unwrap();
    }
    let stream = async_nats::jetstream::new(live.client.clone()).get_stream(EVENTS).await.unwrap();
    let acknowledged =
        wait_until("three are acknowledged", DEADLINE, async || match stream.consumer_info("role").await {
            Ok(info) if info.ack_floor.stream_sequence == 3 => Ok(info),
            other => Err(format!("{other:?}")),
        })
        .await;
    drop(reader);
    // The taker kept the place, removed the consumer, and got no further.
    let kept = pull::Config {
        durable_name: Some("role-place".to_owned()),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: 4 },
        filter_subject: acknowledged.config.filter_subject,
        ..pull::Config::default()
    };
    stream.create_consumer(kept).await.unwrap();
    stream.delete_consumer("role").await.unwrap();
    let mut successor = live.log.durable("role", Filter::All).await.unwrap();
    let taken = deliveries(&mut successor, 2).await;
    assert_eq!(taken.iter().map(sequence).collect::<Vec<_>>(), [4, 5], "what was acknowledged came again");
    // A take-over that comes to its end leaves nothing behind.
    let error = stream.consumer_info("role-place").await.unwrap_err();
    assert_eq!(error.kind(), ConsumerInfoErrorKind::NotFound, "{error}");
}
