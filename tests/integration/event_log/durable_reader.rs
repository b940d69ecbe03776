//! The durable reader, which the leader's roles use.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use dockhost::broker::consumer::durable::DurableConsumer;
use dockhost::broker::streams::EVENTS;
use dockhost::event_log::durable::{DurableDelivery, DurableReader};
use dockhost::event_log::{Delivery, EventLog, Filter};
use dockhost_domain::subject::ALL_EVENTS;
use futures::StreamExt;

use super::world::{Live, at, sign_in, sign_up, user};
use crate::harness::wait::DEADLINE;
use crate::harness::wait_until;

fn sequence(delivery: &DurableDelivery) -> u64 {
    match &delivery.delivery {
        Delivery::Event(recorded) => recorded.sequence,
        Delivery::Unreadable { sequence, .. } => *sequence,
        other => panic!("{other:?}"),
    }
}

async fn deliveries(reader: &mut DurableReader, count: usize) -> Vec<DurableDelivery> {
    let mut deliveries = Vec::new();
    while deliveries.len() < count {
        let more = reader.next_batch(count - deliveries.len(), DEADLINE).await.unwrap();
        assert!(!more.is_empty(), "only {} of {count} deliveries", deliveries.len());
        deliveries.extend(more);
    }
    deliveries
}

#[tokio::test]
async fn durable_reader_redelivers_unacknowledged_events_only() {
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
    // The work for 3 failed.
    first.remove(1).ack.retry_after(Duration::from_millis(10)).await.unwrap();
    for delivery in first {
        delivery.ack.confirm().await.unwrap();
    }
    let again = deliveries(&mut reader, 1).await.remove(0);
    assert_eq!(sequence(&again), 3);
    again.ack.confirm().await.unwrap();
    // The broker does not reply to acknowledgements.
    let stream = async_nats::jetstream::new(live.client.clone()).get_stream(EVENTS).await.unwrap();
    wait_until("all is acknowledged", DEADLINE, async || match stream.consumer_info("role").await {
        Ok(info) if info.ack_floor.stream_sequence == 5 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    // Another process takes the consumer over.
    drop(reader);
    live.log.append(at(4, &sign_in(ada))).await.unwrap();
    let mut reader = live.log.durable("role", Filter::Kind("session")).await.unwrap();
    let next = deliveries(&mut reader, 1).await.remove(0);
    assert_eq!(sequence(&next), 6);
    next.ack.confirm().await.unwrap();
    assert!(reader.next_batch(10, Duration::from_millis(300)).await.unwrap().is_empty());
    // The broker stores acknowledgements lazily: after a crash some events are redelivered, but none is skipped.
    drop(reader);
    live.nats.restart().await;
    wait_until("the log is available", DEADLINE, async || live.log.end(Filter::All).await).await;
    live.log.append(at(6, &sign_in(ada))).await.unwrap();
    let mut reader = live.log.durable("role", Filter::Kind("session")).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&7) {
        let delivery = deliveries(&mut reader, 1).await.remove(0);
        seen.push(sequence(&delivery));
        delivery.ack.confirm().await.unwrap();
    }
    let tail: Vec<u64> = (2..=7).collect();
    assert!(tail.ends_with(&seen), "{seen:?}");
}

/// A reader that was open when the broker restarted, and one event stored since.
async fn reader_opened_before_a_restart() -> (Live, DurableReader) {
    let mut live = Live::start().await;
    let mut reader = live.log.durable("role", Filter::All).await.unwrap();
    assert!(reader.next_batch(10, Duration::from_millis(100)).await.unwrap().is_empty());
    live.nats.restart().await;
    wait_until("the log is available", DEADLINE, async || live.log.end(Filter::All).await).await;
    live.log.append(at(0, &sign_in(user()))).await.unwrap();
    (live, reader)
}

#[tokio::test]
async fn durable_reader_broker_restart_continues() {
    let (_live, mut reader) = reader_opened_before_a_restart().await;
    let seen = wait_until("the event is delivered", DEADLINE, async || match reader.next_batch(10, DEADLINE).await {
        Ok(deliveries) if deliveries.is_empty() => Err("no event".to_owned()),
        Ok(deliveries) => Ok(deliveries.iter().map(sequence).collect::<Vec<_>>()),
        Err(error) => Err(format!("{error:?}")),
    })
    .await;
    assert_eq!(seen, [1]);
}

/// A role waits less per batch than the reader needs to detect that the broker is silent.
#[tokio::test]
async fn durable_reader_short_waits_detect_a_lost_connection() {
    let (_live, mut reader) = reader_opened_before_a_restart().await;
    wait_until("the event is delivered", DEADLINE, async || {
        match reader.next_batch(10, Duration::from_millis(300)).await {
            Ok(deliveries) if deliveries.is_empty() => Err("no event".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{error:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn durable_reader_take_over_redelivers_what_the_predecessor_had_received() {
    let live = Live::start().await;
    let ada = user();
    for expected in 0..3 {
        live.log.append(at(expected, &sign_in(ada))).await.unwrap();
    }
    // The predecessor hangs with two of three events unacknowledged, and with open pull requests.
    let mut predecessor = live.log.durable("role", Filter::All).await.unwrap();
    let mut received = deliveries(&mut predecessor, 3).await;
    received.remove(0).ack.confirm().await.unwrap();
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

/// The prefix of the requests that a [`Relay`] receives.
const RELAYED: &str = "relayed";

/// Passes JetStream requests on, as many as are allowed: the client stops at the next one, as a killed process would.
struct Relay {
    client: async_nats::Client,
    requests: async_nats::Subscriber,
}

impl Relay {
    async fn open(live: &Live) -> Self {
        let requests = live.client.subscribe(format!("{RELAYED}.>")).await.unwrap();
        live.client.flush().await.unwrap();
        Self { client: live.client.clone(), requests }
    }

    /// Passes this many requests on, and returns when the next one arrives.
    async fn pass(&mut self, allowed: usize) {
        for passed in 0.. {
            let request = self.requests.next().await.unwrap();
            if passed == allowed {
                return;
            }
            let subject = request.subject.strip_prefix(RELAYED).unwrap();
            let reply = request.reply.unwrap();
            self.client.publish_with_reply(format!("$JS.API{subject}"), reply, request.payload).await.unwrap();
        }
    }
}

/// A take-over that stops after this many requests to the broker; whether it was complete by then.
async fn take_over(live: &Live, name: &str, requests: usize) -> bool {
    let mut relay = Relay::open(live).await;
    let js = async_nats::jetstream::with_prefix(live.client.clone(), RELAYED);
    let mut consumer = DurableConsumer::new(js, EVENTS, name, ALL_EVENTS.to_owned());
    tokio::select! {
        opened = consumer.open() => {
            opened.unwrap();
            true
        }
        () = relay.pass(requests) => false,
    }
}

/// Two take-overs in a row stop, each at every possible point; the third one resumes after what was acknowledged.
#[tokio::test]
async fn durable_reader_take_over_interrupted_twice_keeps_its_position() {
    let live = Live::start().await;
    let ada = user();
    for expected in 0..5 {
        live.log.append(at(expected, &sign_in(ada))).await.unwrap();
    }
    let stream = async_nats::jetstream::new(live.client.clone()).get_stream(EVENTS).await.unwrap();
    let mut points = 0;
    for first in 0.. {
        let mut first_is_complete = false;
        for second in 0.. {
            let name = format!("role-{first}-{second}");
            // Its ack floor is 3.
            let config = pull::Config {
                durable_name: Some(name.clone()),
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: 4 },
                filter_subject: ALL_EVENTS.to_owned(),
                ..pull::Config::default()
            };
            stream.create_consumer(config).await.unwrap();
            first_is_complete = take_over(&live, &name, first).await;
            let second_is_complete = take_over(&live, &name, second).await;
            let mut third = live.log.durable(&name, Filter::All).await.unwrap();
            let taken = deliveries(&mut third, 2).await;
            let taken: Vec<_> = taken.iter().map(sequence).collect();
            assert_eq!(taken, [4, 5], "stopped after {first} and then after {second} requests");
            let error = stream.consumer_info(format!("{name}-place")).await.unwrap_err();
            assert_eq!(error.kind(), ConsumerInfoErrorKind::NotFound, "{error}");
            stream.delete_consumer(&name).await.unwrap();
            points += 1;
            if second_is_complete {
                break;
            }
        }
        if first_is_complete {
            break;
        }
    }
    assert!(points > 9, "only {points} pairs of points");
}

/// In a cluster, the node of a client may learn of a new consumer after the client.
#[tokio::test]
async fn durable_reader_whose_consumer_is_unknown_for_a_moment_reads_on() {
    let live = Live::start().await;
    live.log.append(at(0, &sign_up(user()))).await.unwrap();
    let mut reader = live.log.durable("role", Filter::Kind("account")).await.unwrap();
    let stream = async_nats::jetstream::new(live.client.clone()).get_stream(EVENTS).await.unwrap();
    let info = stream.consumer_info("role").await.unwrap();
    stream.delete_consumer("role").await.unwrap();
    let made_known = async {
        // The reader's request was sent before, so the broker has answered it, too.
        let request = live.client.request("$JS.API.CONSUMER.MSG.NEXT.EVENTS.role", "".into());
        assert_eq!(request.await.unwrap_err().kind(), RequestErrorKind::NoResponders);
        stream.create_consumer(info.config.clone()).await.unwrap();
    };
    let (read, ()) = futures::join!(reader.next_batch(1, DEADLINE), made_known);
    assert_eq!(read.unwrap().iter().map(sequence).collect::<Vec<_>>(), [1]);
}
