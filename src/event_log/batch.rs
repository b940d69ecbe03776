//! Atomic batches (NATS ADR-50): several messages, each with its own expectation, stored all or none.
//!
//! The broker stages the messages under the batch id, and stores and answers them when the one marked `commit` arrives.
//! Each attempt uses its own id, so that the remains of an interrupted one never mix with the next.

use std::time::Duration;

use async_nats::Client;
use async_nats::header::{NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE};

use super::publish::{OutgoingMessage, PublishOutcome, send};
use crate::broker::connect::ensure_connected;

/// Publishes the messages as one batch and waits for the reply to its commit.
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
        // The broker discards a batch without a commit, so nothing is stored if this fails.
        if let Err(error) = client.publish_with_headers(message.subject, message.headers, message.body).await {
            return PublishOutcome::NotSent(error.into());
        }
    }
    PublishOutcome::Refused("an empty batch".into())
}
