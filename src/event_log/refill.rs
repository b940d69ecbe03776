//! Fills an empty EVENTS with the events of another log, each at its old sequence.
//!
//! Each publish names the sequence that the *whole stream* must end at, so an event fits at exactly one place: if
//! another client appends, all further publishes fail, and a publish whose reply was lost can be repeated safely. Many
//! publishes are in flight at once. When one fails, so do those behind it; then the stream's leader is asked where the
//! log ends, and the rest is sent again.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::header::{NATS_EXPECTED_LAST_SEQUENCE, NATS_EXPECTED_STREAM};
use async_nats::jetstream::Context;
use async_nats::{Client, Subscriber};
use dockhost_domain::subject::ALL_EVENTS;
use futures::StreamExt;
use tokio::time::{Instant, sleep, timeout};

use super::LogError;
use super::publish::{PublishOutcome, parse_reply};
use super::raw::{RawEvent, RawLog};
use crate::broker::connect::ensure_connected;
use crate::broker::streams::EVENTS;
use crate::common::error::Cause;

const MAX_IN_FLIGHT: usize = 512;
/// A reply that takes longer counts as lost.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// The refill fails when no event could be stored for this long.
const MAX_STALL: Duration = Duration::from_secs(60);
const RESEND_INTERVAL: Duration = Duration::from_millis(200);

/// Why the stream could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum RefillError {
    /// Another client appends.
    #[error("another client has appended to the log at sequence {0}; stop every server during an import")]
    ForeignAppend(u64),
    /// The log is at its size limit.
    #[error("the log is full; raise DOCKHOST_LOG_MAX_BYTES (and the disk) and run the import again")]
    Full,
    /// The event's subject is not one of EVENTS.
    #[error("event {0} has the subject {1:?}, which is not one of the log's")]
    Subject(u64, String),
    /// The broker refuses the event.
    #[error("the broker refuses event {0}")]
    Refused(u64, #[source] Cause),
    /// The broker can't be reached or does not answer.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A stream that is being filled.
pub struct Refill {
    client: Client,
    log: RawLog,
    inbox: String,
    replies: Subscriber,
    /// Published, and not yet known to be stored.
    in_flight: VecDeque<RawEvent>,
    stored: u64,
    last_progress: Instant,
}

impl Refill {
    /// Continues after `stored`, the last event in the log.
    ///
    /// # Errors
    /// [`RefillError::Log`].
    pub async fn after(js: &Context, log: RawLog, stored: u64) -> Result<Self, RefillError> {
        let client = js.client();
        let (inbox, replies) = new_inbox(&client).await?;
        Ok(Self { client, log, inbox, replies, in_flight: VecDeque::new(), stored, last_progress: Instant::now() })
    }

    /// The last event that is known to be stored.
    #[must_use]
    pub const fn stored(&self) -> u64 {
        self.stored
    }

    /// Publishes the next event; waits for replies only while `MAX_IN_FLIGHT` are outstanding.
    ///
    /// # Errors
    /// [`RefillError`].
    pub async fn push(&mut self, raw: RawEvent) -> Result<(), RefillError> {
        if !raw.subject.starts_with(ALL_EVENTS.trim_end_matches('>')) || raw.subject.contains(['*', '>', ' ']) {
            return Err(RefillError::Subject(raw.sequence, raw.subject));
        }
        while self.in_flight.len() >= MAX_IN_FLIGHT {
            self.take_oldest_reply().await?;
        }
        let sent = self.send(&raw).await;
        self.in_flight.push_back(raw);
        if let Err(cause) = sent {
            self.resume(cause).await?;
        }
        Ok(())
    }

    /// Waits until everything is stored.
    ///
    /// # Errors
    /// [`RefillError`].
    pub async fn finish(&mut self) -> Result<(), RefillError> {
        while !self.in_flight.is_empty() {
            self.take_oldest_reply().await?;
        }
        Ok(())
    }

    async fn send(&self, raw: &RawEvent) -> Result<(), Cause> {
        ensure_connected(&self.client)?;
        let mut headers = raw.own_headers();
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, (raw.sequence - 1).to_string());
        headers.insert(NATS_EXPECTED_STREAM, EVENTS);
        let reply = format!("{}.{}", self.inbox, raw.sequence);
        let (subject, body) = (raw.subject.clone(), raw.body.clone());
        Ok(self.client.publish_with_reply_and_headers(subject, reply, headers, body).await?)
    }

    /// Waits for the reply to the oldest publish in flight.
    async fn take_oldest_reply(&mut self) -> Result<(), RefillError> {
        let Some(front) = self.in_flight.front().map(|raw| raw.sequence) else { return Ok(()) };
        let reply = match timeout(REPLY_TIMEOUT, self.replies.next()).await {
            Ok(Some(reply)) => reply,
            Ok(None) => return self.resume("the connection was closed".into()).await,
            Err(elapsed) => return self.resume(elapsed.into()).await,
        };
        let about: Option<u64> = reply.subject.rsplit('.').next().and_then(|sequence| sequence.parse().ok());
        match parse_reply(&reply.payload) {
            // Replies arrive in the order of the stream.
            PublishOutcome::Stored(sequence) | PublishOutcome::Duplicate(sequence)
                if sequence == front && about == Some(front) =>
            {
                self.in_flight.pop_front();
                self.stored = front;
                self.last_progress = Instant::now();
                Ok(())
            }
            PublishOutcome::Full => Err(RefillError::Full),
            PublishOutcome::Refused(cause) if about == Some(front) => {
                // During an election of the stream's leader this passes; otherwise the next attempt is refused as well.
                if self.last_progress.elapsed() >= MAX_STALL {
                    Err(RefillError::Refused(front, cause))
                } else {
                    self.resume(cause).await
                }
            }
            PublishOutcome::Refused(cause) | PublishOutcome::NotSent(cause) | PublishOutcome::NoReply(cause) => {
                self.resume(cause).await
            }
            PublishOutcome::Stored(_)
            | PublishOutcome::Duplicate(_)
            | PublishOutcome::Conflict
            | PublishOutcome::InFlight
            | PublishOutcome::SameInFlight
            | PublishOutcome::AlreadyStored => {
                self.resume("the log does not end at the expected sequence".into()).await
            }
        }
    }

    /// Sends again what is not stored, until that succeeds or the refill has stalled. (Not `backon`: each attempt
    /// changes `self`, and the deadline moves with every stored event.)
    async fn resume(&mut self, mut cause: Cause) -> Result<(), RefillError> {
        loop {
            if self.last_progress.elapsed() >= MAX_STALL {
                return Err(LogError::Unavailable(cause).into());
            }
            tracing::debug!(stored = self.stored, %cause, "resending the events in flight");
            sleep(RESEND_INTERVAL).await;
            match self.resend().await {
                Ok(()) => return Ok(()),
                Err(RefillError::Log(LogError::Unavailable(later))) => cause = later,
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks where the log ends, checks that the events up to there are ours, and publishes the rest.
    async fn resend(&mut self) -> Result<(), RefillError> {
        // Late replies to earlier attempts go to the old inbox.
        (self.inbox, self.replies) = new_inbox(&self.client).await?;
        let end = self.log.end().await?;
        while let Some(raw) = self.in_flight.front().filter(|raw| raw.sequence <= end) {
            let stored = self.log.at(raw.sequence).await?;
            if !stored.is_some_and(|stored| stored.same_event(raw)) {
                return Err(RefillError::ForeignAppend(raw.sequence));
            }
            self.stored = raw.sequence;
            self.last_progress = Instant::now();
            self.in_flight.pop_front();
        }
        if end > self.stored {
            return Err(RefillError::ForeignAppend(self.stored + 1));
        }
        for raw in &self.in_flight {
            self.send(raw).await.map_err(LogError::Unavailable)?;
        }
        Ok(())
    }
}

async fn new_inbox(client: &Client) -> Result<(String, Subscriber), LogError> {
    let inbox = client.new_inbox();
    let replies = client.subscribe(format!("{inbox}.*")).await;
    Ok((inbox, replies.map_err(|error| LogError::Unavailable(error.into()))?))
}
