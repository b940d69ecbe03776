//! Atomic batches (the broker's ADR-50): several messages, each with its literal expectation, stored all or not at all.
//!
//! In: messages in order. Out: the same [`PublishOutcome`] as for one. The broker stages a batch under its id and stores it
//! when the one marked `commit` comes; only that one is answered. Each attempt gets an id of its own, so that the
//! remains of one that was cut off never mix with the next.

use std::time::Duration;

use async_nats::Client;
use async_nats::header::{NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE};

use super::publish::{OutgoingMessage, PublishOutcome, send};
use crate::broker::connect::ensure_connected;

/// Publishes the messages as one batch and waits for the answer to its commit.
pub async fn send_batch(
    client: &Client,
    batch_id: &str,
    messages: Vec<OutgoingMessage>,
    timeout: Duration,
) -> PublishOutcome {
    let last = messages.len();
    for (sequence, mut message) in (1..).zip(messages) {
        message.headers.insert(NATS_BATCH_ID, batch_id);
        message.headers.insert(NATS_BATCH_SEQUENCE, sequence.to_string());
        if sequence == last {
            message.headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
            return send(client, message, timeout).await;
        }
        if let Err(cause) = ensure_connected(client) {
            return PublishOutcome::NotSent(cause);
        }
        // What is staged without a commit is thrown away by the broker, so a failure here has stored nothing.
        if let Err(error) = client.publish_with_headers(message.subject, message.headers, message.body).await {
            return PublishOutcome::NotSent(error.into());
        }
    }
    PublishOutcome::Refused("an empty batch".into())
}
