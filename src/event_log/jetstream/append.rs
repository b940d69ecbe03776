//! Appends. One publish per attempt, with the expected last sequence of its subject.
//!
//! A missing reply leaves the outcome open, so the same event is published again until a reply is final; then the log
//! is searched for its id.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::{Instant, sleep};

use super::JetStreamLog;
use crate::common::clock;
use crate::common::error::Cause;
use crate::event_log::batch::send_batch;
use crate::event_log::codec;
use crate::event_log::publish::{OutgoingMessage, PublishOutcome, outgoing, send};
use crate::event_log::{Append, AppendError, LogError};

/// The delays between two attempts.
const RETRY_BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(10))
    .with_max_delay(Duration::from_millis(200))
    .with_jitter()
    .without_max_times();

impl JetStreamLog {
    /// Repeats attempts until an outcome is final or `append_timeout` is over.
    pub(super) async fn append_until_final(&self, entries: &[Append]) -> Result<u64, AppendError> {
        let mut messages = Vec::with_capacity(entries.len());
        for entry in entries {
            messages.push(outgoing(&self.codec, entry).await.map_err(AppendError::Unavailable)?);
        }
        let deadline = Instant::now() + self.options.append_timeout;
        let mut delays = RETRY_BACKOFF.build();
        // Set once an earlier attempt may have been stored.
        let mut uncertain: Option<Cause> = None;
        loop {
            let attempt_timeout = self.options.attempt_timeout.min(deadline - Instant::now());
            match (self.attempt(messages.clone(), attempt_timeout).await, &uncertain) {
                (PublishOutcome::Stored(sequence) | PublishOutcome::Duplicate(sequence), _) => return Ok(sequence),
                (PublishOutcome::Conflict, _) => match self.find(entries).await {
                    Ok(Some(sequence)) => return Ok(sequence),
                    Ok(None) => return Err(AppendError::Conflict),
                    Err(_) if uncertain.is_none() => return Err(AppendError::Conflict),
                    Err(error) => uncertain = Some(error.into()),
                },
                (PublishOutcome::AlreadyStored, _) => match self.find(entries).await {
                    Ok(Some(sequence)) => return Ok(sequence),
                    Ok(None) => {
                        uncertain = Some("the broker reports the batch as stored, but has no such event".into());
                    }
                    Err(error) => uncertain = Some(error.into()),
                },
                // With an uncertain attempt before, the append under way may be our own.
                (PublishOutcome::InFlight, None) => return Err(AppendError::Conflict),
                (PublishOutcome::Full, None) => return Err(AppendError::Full),
                (PublishOutcome::Refused(cause) | PublishOutcome::NotSent(cause), None) => {
                    return Err(AppendError::Unavailable(cause));
                }
                (PublishOutcome::NoReply(cause), _) => uncertain = Some(cause),
                (
                    PublishOutcome::InFlight
                    | PublishOutcome::Full
                    | PublishOutcome::Refused(_)
                    | PublishOutcome::NotSent(_),
                    Some(_),
                ) => {}
            }
            match delays.next().filter(|delay| Instant::now() + *delay < deadline) {
                Some(delay) => sleep(delay).await,
                None => {
                    return match self.find(entries).await {
                        Ok(Some(sequence)) => Ok(sequence),
                        Ok(None) | Err(_) => {
                            Err(AppendError::Unknown(uncertain.unwrap_or_else(|| "no final reply in time".into())))
                        }
                    };
                }
            }
        }
    }

    async fn attempt(&self, mut messages: Vec<OutgoingMessage>, timeout: Duration) -> PublishOutcome {
        let began = Instant::now();
        let outcome = match messages.len() {
            1 => send(&self.client, messages.remove(0), timeout).await,
            _ => send_batch(&self.client, &clock::fresh_uuid().to_string(), messages, timeout).await,
        };
        match outcome {
            PublishOutcome::Stored(sequence) => {
                self.write_proof.record(began);
                self.barriers.record(began, sequence);
            }
            PublishOutcome::Refused(_) | PublishOutcome::NoReply(_) => self.write_proof.record_failure(began),
            _ => {}
        }
        outcome
    }

    /// Searches for the last of these events (all or none are stored) on its subject, from its expected sequence on.
    async fn find(&self, entries: &[Append]) -> Result<Option<u64>, LogError> {
        let Some(Append { expected, envelope }) = entries.last() else { return Ok(None) };
        let subject = envelope.aggregate.to_string();
        let mut position = *expected;
        while let Some(message) = self.reads.next(&subject, position + 1).await? {
            if codec::id_of(&message.headers) == Some(envelope.meta.id) {
                return Ok(Some(message.sequence));
            }
            position = message.sequence;
        }
        Ok(None)
    }
}
