//! Appends events without waiting for each acknowledgement, to a log without other writers.
//!
//! Events have the server's own form (codec, seals, expectations, message ids). Their order determines their sequences.

use std::collections::HashMap;

use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::{Client, HeaderMap, Subscriber};
use dockhost::event_log::codec::Codec;
use dockhost_domain::envelope::Envelope;
use dockhost_domain::subject::AggregateId;
use futures::StreamExt;
use futures::future::join_all;
use serde_json::Value;

/// Events encoded per batch.
const EVENTS_PER_BATCH: usize = 2048;
/// Tasks that encode a batch; storing a new user's key takes most of the time.
const ENCODING_TASKS: usize = 16;
/// Appends in flight. The broker refuses more than ten thousand.
const MAX_IN_FLIGHT: usize = 6000;

struct Unsent {
    expected: u64,
    envelope: Envelope,
}

/// Appends to a log without other writers.
pub struct Publisher {
    client: Client,
    codec: Codec,
    inbox: String,
    answers: Subscriber,
    in_flight: usize,
    /// The last acknowledged sequence, and the last assigned one.
    stored: u64,
    end: u64,
    last: HashMap<AggregateId, u64>,
    unsent: Vec<Unsent>,
}

impl Publisher {
    /// Appends after `end`, to aggregates that have no events yet.
    pub async fn open(client: Client, codec: Codec, end: u64) -> Self {
        let inbox = client.new_inbox();
        let answers = client.subscribe(inbox.clone()).await.unwrap();
        let (last, unsent) = (HashMap::new(), Vec::new());
        Self { client, codec, inbox, answers, in_flight: 0, stored: end, end, last, unsent }
    }

    /// The last assigned sequence.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Adds an event to the next batch; returns its sequence.
    pub fn push(&mut self, envelope: Envelope) -> u64 {
        self.end += 1;
        let expected = self.last.insert(envelope.aggregate, self.end).unwrap_or(0);
        self.unsent.push(Unsent { expected, envelope });
        self.end
    }

    /// Sends the batch if it is full.
    pub async fn send_full_batch(&mut self) {
        if self.unsent.len() >= EVENTS_PER_BATCH {
            self.send().await;
        }
    }

    /// Sends the rest; returns when everything is stored.
    pub async fn finish(&mut self) {
        self.send().await;
        while self.in_flight > 0 {
            self.await_acknowledgement().await;
        }
    }

    async fn send(&mut self) {
        let mut unsent = std::mem::take(&mut self.unsent);
        let mut tasks = Vec::new();
        let share = unsent.len().div_ceil(ENCODING_TASKS).max(1);
        while !unsent.is_empty() {
            let rest = unsent.split_off(share.min(unsent.len()));
            let (codec, part) = (self.codec.clone(), std::mem::replace(&mut unsent, rest));
            tasks.push(tokio::spawn(async move {
                let mut encoded = Vec::with_capacity(part.len());
                for Unsent { expected, envelope } in part {
                    let (mut headers, body): (HeaderMap, _) = codec.encode(&envelope).await.unwrap();
                    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
                    headers.insert(NATS_MESSAGE_ID, envelope.meta.id.to_string());
                    encoded.push((envelope.aggregate.to_string(), headers, body));
                }
                encoded
            }));
        }
        for encoded in join_all(tasks).await {
            for (subject, headers, body) in encoded.unwrap() {
                while self.in_flight >= MAX_IN_FLIGHT {
                    self.await_acknowledgement().await;
                }
                let sent = self.client.publish_with_reply_and_headers(subject, self.inbox.clone(), headers, body);
                sent.await.unwrap();
                self.in_flight += 1;
            }
        }
    }

    async fn await_acknowledgement(&mut self) {
        let next = tokio::time::timeout(crate::wait::DEADLINE, self.answers.next()).await;
        let message = next.expect("the broker answers in time").expect("the connection stays open");
        let answer: Value = serde_json::from_slice(&message.payload).unwrap();
        self.stored += 1;
        self.in_flight -= 1;
        assert_eq!(answer["seq"], self.stored, "another writer, or refused by the broker: {answer}");
    }
}
