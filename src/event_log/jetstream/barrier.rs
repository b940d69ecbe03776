//! Barriers, and the extent of one node's copy of the log.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_nats::jetstream::response::Response;
use dockhost_domain::subject::AggregateId;
use futures::FutureExt;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::JetStreamLog;
use crate::broker::connect::ensure_connected;
use crate::broker::streams::EVENTS;
use crate::common::error::chain;
use crate::event_log::barrier::{ATTEMPT_TIMEOUT, Failure};
use crate::event_log::publish::{PublishOutcome, barrier, send};
use crate::event_log::{Extent, Freshness, LogError, Proof};

/// The part of the answer about a stream that counts here. The node takes the state first and counts the subject's
/// messages afterwards, so the count has all of them up to `last_seq`.
#[derive(Deserialize)]
struct StreamInfo {
    state: StreamState,
}

#[derive(Deserialize)]
struct StreamState {
    last_seq: u64,
    #[serde(default)]
    subjects: Option<HashMap<String, u64>>,
}

impl JetStreamLog {
    /// Whether another node than the one that answers may have newer events.
    pub fn has_several_copies(&self) -> bool {
        self.copies.load(Ordering::Relaxed) > 1
    }

    pub(super) async fn prove(&self, freshness: Freshness) -> Result<Proof, LogError> {
        if !self.has_several_copies() {
            return Ok(Proof::SingleCopy);
        }
        let attempt = || {
            let (client, write_proof) = (self.client.clone(), Arc::clone(&self.write_proof));
            async move {
                let began = Instant::now();
                let outcome = sequence(send(&client, barrier(), ATTEMPT_TIMEOUT).await);
                outcome.inspect(|_| write_proof.record(began))
            }
            .boxed()
        };
        let proven = self.barriers.prove(freshness, attempt).await;
        proven.map(Proof::UpTo).map_err(LogError::Unavailable)
    }

    pub(super) async fn extent_of(&self, aggregate: AggregateId) -> Result<Option<Extent>, LogError> {
        if !self.has_several_copies() {
            return Ok(None);
        }
        ensure_connected(&self.client).map_err(LogError::Unavailable)?;
        let subject = aggregate.to_string();
        let request = json!({ "subjects_filter": subject });
        let response = self.js.request(format!("STREAM.INFO.{EVENTS}"), &request).await;
        let info: StreamInfo = match response.map_err(|error| LogError::Unavailable(error.into()))? {
            Response::Ok(info) => info,
            Response::Err { error } => return Err(LogError::Unavailable(error.into())),
        };
        let events = info.state.subjects.and_then(|subjects| subjects.get(&subject).copied()).unwrap_or(0);
        Ok(Some(Extent { end: info.state.last_seq, events }))
    }
}

/// The sequence of a barrier, if this attempt stored it.
fn sequence(outcome: PublishOutcome) -> Result<u64, Failure> {
    let failure = |why: String, is_final| Err(Failure { why, is_final });
    match outcome {
        PublishOutcome::Stored(sequence) => Ok(sequence),
        // Without a connection, or without a leader of the stream, the caller learns it at once.
        PublishOutcome::NotSent(cause) => failure(chain(&*cause), true),
        PublishOutcome::Full => failure("the log is full".to_owned(), true),
        PublishOutcome::Refused(cause) | PublishOutcome::NoReply(cause) => failure(chain(&*cause), false),
        PublishOutcome::Duplicate(_)
        | PublishOutcome::Conflict
        | PublishOutcome::InFlight
        | PublishOutcome::SameInFlight
        | PublishOutcome::AlreadyStored => failure("an unexpected reply to a barrier".to_owned(), false),
    }
}
