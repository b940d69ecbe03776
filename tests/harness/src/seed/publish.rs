//! Appends that don't wait for each other. In: envelopes, in order, for a log that nobody else writes to. Out: they are
//! stored at the sequences that follow from the order, in the form that the server itself gives them (codec, seals,
//! expectations, message ids), many under way at once.

use std::collections::HashMap;

use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::{Client, HeaderMap, Subscriber};
use dockhost::event_log::codec::Codec;
use dockhost_domain::envelope::Envelope;
use dockhost_domain::subject::AggregateId;
use futures::StreamExt;
use futures::future::join_all;
use serde_json::Value;

/// Events that are encoded together.
const BATCH: usize = 2048;
/// Tasks that encode a batch: most of a new principal's time goes into storing their key.
const TASKS: usize = 16;
/// Appends under way. The broker refuses more than ten thousand.
const WINDOW: usize = 6000;

struct Draft {
    expected: u64,
    envelope: Envelope,
}

/// Appends to a log that nobody else writes to meanwhile.
pub struct Publisher {
    client: Client,
    codec: Codec,
    inbox: String,
    answers: Subscriber,
    under_way: usize,
    /// The last sequence that an answer confirmed, and the last one that was given out.
    stored: u64,
    end: u64,
    last: HashMap<AggregateId, u64>,
    drafts: Vec<Draft>,
}

impl Publisher {
    /// Goes on after `end`, with aggregates that the log does not hold yet.
    pub async fn open(client: Client, codec: Codec, end: u64) -> Self {
        let inbox = client.new_inbox();
        let answers = client.subscribe(inbox.clone()).await.unwrap();
        let (last, drafts) = (HashMap::new(), Vec::new());
        Self { client, codec, inbox, answers, under_way: 0, stored: end, end, last, drafts }
    }

    /// The last sequence that was given out.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Takes an event; it is sent with the next batch. Returns its sequence.
    pub fn push(&mut self, envelope: Envelope) -> u64 {
        self.end += 1;
        let expected = self.last.insert(envelope.aggregate, self.end).unwrap_or(0);
        self.drafts.push(Draft { expected, envelope });
        self.end
    }

    /// Sends what was taken, if it is a batch.
    pub async fn breathe(&mut self) {
        if self.drafts.len() >= BATCH {
            self.send().await;
        }
    }

    /// Sends what was taken, and returns when all of it is stored.
    pub async fn finish(&mut self) {
        self.send().await;
        while self.under_way > 0 {
            self.answer().await;
        }
    }

    async fn send(&mut self) {
        let mut drafts = std::mem::take(&mut self.drafts);
        let mut tasks = Vec::new();
        let share = drafts.len().div_ceil(TASKS).max(1);
        while !drafts.is_empty() {
            let rest = drafts.split_off(share.min(drafts.len()));
            let (codec, part) = (self.codec.clone(), std::mem::replace(&mut drafts, rest));
            tasks.push(tokio::spawn(async move {
                let mut encoded = Vec::with_capacity(part.len());
                for Draft { expected, envelope } in part {
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
                while self.under_way >= WINDOW {
                    self.answer().await;
                }
                let sent = self.client.publish_with_reply_and_headers(subject, self.inbox.clone(), headers, body);
                sent.await.unwrap();
                self.under_way += 1;
            }
        }
    }

    async fn answer(&mut self) {
        let next = tokio::time::timeout(crate::wait::DEADLINE, self.answers.next()).await;
        let message = next.expect("the broker answers in time").expect("the connection stays open");
        let answer: Value = serde_json::from_slice(&message.payload).unwrap();
        self.stored += 1;
        self.under_way -= 1;
        assert_eq!(answer["seq"], self.stored, "somebody else writes, or the broker refuses: {answer}");
    }
}
