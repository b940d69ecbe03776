//! A durable consumer, read in batches by one role of the leader: at-least-once delivery of a stream.
//!
//! A new leader takes the consumer over by creating it again after its ack floor. Otherwise messages that the previous
//! leader had received would be redelivered only after `ACK_WAIT`, longer than any deadline, and a leader that hangs
//! would keep receiving what its open pull requests asked for.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, Info, pull};
use async_nats::jetstream::stream::{RetentionPolicy, Stream};
use async_nats::jetstream::{AckKind, Context, Message};
use futures::FutureExt;
use tokio::time::timeout;

use super::pull::Puller;
use super::{delete, find};
use crate::common::error::Cause;

/// The broker redelivers a message that is not acknowledged for this long.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Messages that may be unacknowledged at once.
const MAX_ACK_PENDING: i64 = 1000;
const MESSAGES_PER_PULL: usize = 64;

/// The acknowledgement of one message. A message whose acknowledgement is dropped is redelivered after `ACK_WAIT`.
#[derive(Debug)]
pub struct Ack(Box<Message>);

impl Ack {
    /// The acknowledgement of this message.
    #[must_use]
    pub const fn of(message: Box<Message>) -> Self {
        Self(message)
    }

    /// Whether the broker had no further message for the consumer when it sent this one.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.0.info().is_ok_and(|info| info.pending == 0)
    }

    /// Acknowledges the message. If the acknowledgement is lost, the message is redelivered.
    ///
    /// # Errors
    /// If the connection is closed.
    pub async fn confirm(self) -> Result<(), Cause> {
        self.0.ack().await
    }

    /// Asks for redelivery after `delay`.
    ///
    /// # Errors
    /// If the connection is closed.
    pub async fn retry_after(self, delay: Duration) -> Result<(), Cause> {
        self.0.ack_with(AckKind::Nak(Some(delay))).await
    }
}

/// A durable, named consumer.
pub struct DurableConsumer {
    js: Context,
    stream: &'static str,
    name: String,
    config: pull::Config,
    taken_over: bool,
    /// Whether the position consumer exists and must be removed.
    position_saved: bool,
    puller: Option<Puller>,
    /// Why the puller was lost after it had delivered; the next read fails with it.
    lost: Option<Cause>,
    /// The highest sequence that was delivered, or that the consumer starts after.
    delivered: u64,
}

impl DurableConsumer {
    /// Names the consumer; the first read creates it or takes it over.
    #[must_use]
    pub fn new(js: Context, stream: &'static str, name: &str, filter: String) -> Self {
        let config = pull::Config {
            durable_name: Some(name.to_owned()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: MAX_ACK_PENDING,
            filter_subject: filter,
            ..pull::Config::default()
        };
        Self {
            js,
            stream,
            name: name.to_owned(),
            config,
            taken_over: false,
            position_saved: false,
            puller: None,
            lost: None,
            delivered: 0,
        }
    }

    /// Lets so many messages be unacknowledged at once.
    #[must_use]
    pub const fn with_max_ack_pending(mut self, max: i64) -> Self {
        self.config.max_ack_pending = max;
        self
    }

    /// The messages that are available, at most `max`; waits up to `wait` for the first one.
    ///
    /// # Errors
    /// While the broker cannot be reached; the next call tries again.
    pub async fn next_batch(&mut self, max: usize, wait: Duration) -> Result<Vec<Box<Message>>, Cause> {
        if let Some(cause) = self.lost.take() {
            return Err(cause);
        }
        let mut messages = Vec::new();
        match timeout(wait, self.first_message()).await {
            Ok(first) => messages.push(first?),
            Err(_) => return Ok(messages),
        }
        let puller = self.puller().await?;
        while messages.len() < max {
            match puller.next().now_or_never() {
                Some(Ok(message)) => messages.extend(message),
                Some(Err(cause)) => {
                    (self.puller, self.lost) = (None, Some(cause));
                    break;
                }
                None => break,
            }
        }
        let sequences = messages.iter().filter_map(|message| Some(message.info().ok()?.stream_sequence));
        self.delivered = sequences.fold(self.delivered, u64::max);
        Ok(messages)
    }

    /// The highest sequence that was delivered so far; at first the one after which the consumer starts.
    #[must_use]
    pub const fn delivered(&self) -> u64 {
        self.delivered
    }

    async fn first_message(&mut self) -> Result<Box<Message>, Cause> {
        loop {
            match self.puller().await?.next().await {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(cause) => {
                    self.puller = None;
                    return Err(cause);
                }
            }
        }
    }

    /// Opens the consumer unless it is open.
    ///
    /// # Errors
    /// The error of the broker or the client.
    pub async fn open(&mut self) -> Result<(), Cause> {
        self.puller().await.map(|_| ())
    }

    async fn puller(&mut self) -> Result<&mut Puller, Cause> {
        if !self.taken_over {
            crate::broker::connect::ensure_connected(&self.js.client())?;
            self.take_over().await?;
            self.taken_over = true;
        }
        if self.puller.is_none() {
            self.puller = Some(Puller::open(&self.js, self.stream, self.config.clone(), MESSAGES_PER_PULL).await?);
        }
        if std::mem::take(&mut self.position_saved) {
            self.remove_position().await;
        }
        self.puller.as_mut().ok_or_else(|| "the consumer is not open".into())
    }

    /// Deletes the consumer, which ends all pull requests of the previous leader, and starts after its ack floor. The
    /// position is saved at the broker meanwhile, as the start of a consumer that is never read. At every point either
    /// the consumer or its saved position exists, so a replica that stops anywhere in a take-over, also in one that
    /// follows an interrupted one, loses no position.
    async fn take_over(&mut self) -> Result<(), Cause> {
        let stream = self.js.get_stream(self.stream).await?;
        let consumer = find(&stream, &self.name).await?;
        // A work queue removes acknowledged messages, so it is read from its beginning.
        if stream.cached_info().config.retention == RetentionPolicy::WorkQueue {
            return if consumer.is_some() { delete(&stream, &self.name).await } else { Ok(()) };
        }
        let Some(consumer) = consumer else {
            // An earlier take-over was interrupted: its saved position stays until the consumer exists again.
            if let Some(start) = saved_position(&stream, &self.name).await? {
                self.start_at(start);
            }
            return Ok(());
        };
        self.start_at(consumer.ack_floor.stream_sequence + 1);
        let position_consumer = position_consumer(&self.name);
        // A position saved earlier is obsolete while the consumer exists.
        delete(&stream, &position_consumer).await?;
        let config = pull::Config { durable_name: Some(position_consumer), ..self.config.clone() };
        stream.create_consumer(config).await?;
        delete(&stream, &self.name).await
    }

    /// Makes the consumer start at this sequence; its saved position is removed once it exists.
    const fn start_at(&mut self, start_sequence: u64) {
        self.config.deliver_policy = DeliverPolicy::ByStartSequence { start_sequence };
        self.delivered = start_sequence.saturating_sub(1);
        self.position_saved = true;
    }

    /// Removes the saved position once the consumer exists again. If that fails, the next take-over replaces it.
    async fn remove_position(&self) {
        let removed = async { delete(&self.js.get_stream(self.stream).await?, &position_consumer(&self.name)).await };
        if let Err(error) = removed.await {
            tracing::debug!(name = self.name, %error, "saved consumer position not removed");
        }
    }
}

/// The last sequence up to which the consumer has acknowledged all messages of a log; 0 if it was never read.
///
/// # Errors
/// If the broker does not answer.
pub async fn ack_floor(js: &Context, stream: &str, name: &str) -> Result<u64, Cause> {
    Ok(resume_sequence(&js.get_stream(stream).await?, name).await?.map_or(0, |next| next - 1))
}

/// Where to resume: after the consumer's ack floor, or at the saved position.
async fn resume_sequence(stream: &Stream, name: &str) -> Result<Option<u64>, Cause> {
    match find(stream, name).await? {
        Some(found) => Ok(Some(found.ack_floor.stream_sequence + 1)),
        None => saved_position(stream, name).await,
    }
}

/// The position that an interrupted take-over saved.
async fn saved_position(stream: &Stream, name: &str) -> Result<Option<u64>, Cause> {
    Ok(find(stream, &position_consumer(name)).await?.and_then(|saved| start_sequence(&saved)))
}

const POSITION_SUFFIX: &str = "-place";

/// The name of the consumer that saves the position.
fn position_consumer(name: &str) -> String {
    format!("{name}{POSITION_SUFFIX}")
}

/// The consumer whose position this one saves, if it does nothing else: it is never read. It may outlive a take-over that was
/// interrupted after the consumer existed again; the next one replaces it.
#[must_use]
pub fn saves_position_of(name: &str) -> Option<&str> {
    name.strip_suffix(POSITION_SUFFIX)
}

const fn start_sequence(info: &Info) -> Option<u64> {
    match info.config.deliver_policy {
        DeliverPolicy::ByStartSequence { start_sequence } => Some(start_sequence),
        _ => None,
    }
}
