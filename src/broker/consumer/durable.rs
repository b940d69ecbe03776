//! A durable consumer of any stream, read in batches by one role of the leader.
//!
//! In: a stream and the consumer's settings. Out: messages that each must be acknowledged after the work; one that
//! isn't comes again, so what is done for it must bear that. Anything odd ends the reader inside; the next call opens
//! it anew where the broker says it stands.
//!
//! A new queue takes the consumer over from whoever read it before: it is made anew after what was acknowledged.
//! Otherwise what a leader had in hand when it died came to its successor only after [`ACK_WAIT`], longer than any
//! deadline, and one that hangs would be sent everything that its standing pull requests still asked for.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, Info, pull};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::{ConsumerErrorKind, RetentionPolicy, Stream};
use async_nats::jetstream::{AckKind, Context, ErrorCode, Message};
use futures::FutureExt;
use tokio::time::timeout;

use super::pull::{PullResult, Puller};
use crate::common::error::Cause;

/// A message comes again when it wasn't acknowledged for so long.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Messages that may be unacknowledged at once.
const MAX_ACK_PENDING: i64 = 1000;
/// Messages asked for at once.
const MESSAGES_PER_PULL: usize = 64;

/// The acknowledgement of one message.
#[derive(Debug)]
pub struct Ack(Box<Message>);

impl Ack {
    /// Of this message.
    #[must_use]
    pub const fn of(message: Box<Message>) -> Self {
        Self(message)
    }

    /// Whether the broker had no more to hand out after this one.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.0.info().is_ok_and(|info| info.pending == 0)
    }

    /// The work is done. Should this get lost, the message comes again.
    ///
    /// # Errors
    /// If the connection is closed.
    pub async fn confirm(self) -> Result<(), Cause> {
        self.0.ack().await
    }

    /// The work could not be done: the message comes again after `delay`.
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
    /// Set while the position is saved beside the consumer.
    position_saved: bool,
    puller: Option<Puller>,
}

impl DurableConsumer {
    /// Names the consumer; the broker's side is made, or taken over, by the first call that reads.
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
        Self { js, stream, name: name.to_owned(), config, taken_over: false, position_saved: false, puller: None }
    }

    /// What is there, at most `max` messages; waits up to `wait` for the first. Empty when nothing came.
    ///
    /// # Errors
    /// While the broker cannot be reached; the next call tries anew.
    pub async fn next_batch(&mut self, max: usize, wait: Duration) -> Result<Vec<Box<Message>>, Cause> {
        let mut messages = Vec::new();
        match timeout(wait, self.first_message()).await {
            Ok(first) => messages.push(first?),
            Err(_) => return Ok(messages),
        }
        let puller = self.puller().await?;
        while messages.len() < max {
            match puller.next().now_or_never() {
                Some(PullResult::Message(message)) => messages.push(message),
                Some(PullResult::Heartbeat) => {}
                Some(PullResult::Broken(_)) => {
                    self.puller = None;
                    break;
                }
                None => break,
            }
        }
        Ok(messages)
    }

    async fn first_message(&mut self) -> Result<Box<Message>, Cause> {
        loop {
            match self.puller().await?.next().await {
                PullResult::Message(message) => return Ok(message),
                PullResult::Heartbeat => {}
                PullResult::Broken(cause) => {
                    self.puller = None;
                    return Err(cause);
                }
            }
        }
    }

    /// Makes the consumer anew after what was acknowledged, which ends all that others asked of it. Where that was is
    /// saved at the broker meanwhile, by a consumer that nobody reads: whoever takes over from a taker that died right
    /// here begins there, and not at the stream's beginning.
    async fn take_over(&mut self) -> Result<(), Cause> {
        let stream = self.js.get_stream(self.stream).await?;
        // A work queue holds nothing that was acknowledged, and wants to be read from its beginning.
        let saves_position = stream.cached_info().config.retention != RetentionPolicy::WorkQueue;
        let position_consumer = position_consumer(&self.name);
        let Some(next) = resume_sequence(&stream, &self.name).await? else { return Ok(()) };
        if saves_position {
            self.config.deliver_policy = DeliverPolicy::ByStartSequence { start_sequence: next };
            // An older position is of no more use while the consumer itself is there.
            delete(&stream, &position_consumer).await?;
            let saved = pull::Config { durable_name: Some(position_consumer), ..self.config.clone() };
            stream.create_consumer(saved).await?;
            self.position_saved = true;
        }
        delete(&stream, &self.name).await
    }

    /// Forgets the saved position, once the consumer is there again. One that stays is replaced by the next take-over.
    async fn forget_saved_position(&self) {
        let forgotten = async { delete(&self.js.get_stream(self.stream).await?, &position_consumer(&self.name)).await };
        if let Err(error) = forgotten.await {
            tracing::debug!(name = self.name, %error, "a reader's saved position could not be removed");
        }
    }

    /// Opens the broker's side if it isn't open.
    ///
    /// # Errors
    /// What the broker or the client says.
    pub async fn puller(&mut self) -> Result<&mut Puller, Cause> {
        if !self.taken_over {
            crate::broker::connect::ensure_connected(&self.js.client())?;
            self.take_over().await?;
            self.taken_over = true;
        }
        if self.puller.is_none() {
            self.puller = Some(Puller::open(&self.js, self.stream, self.config.clone(), MESSAGES_PER_PULL).await?);
        }
        if std::mem::take(&mut self.position_saved) {
            self.forget_saved_position().await;
        }
        self.puller.as_mut().ok_or_else(|| "no reader".into())
    }
}

/// Up to where a queue on a log has acknowledged; 0 if it was never read.
///
/// # Errors
/// When the broker does not answer.
pub async fn ack_floor(js: &Context, stream: &str, name: &str) -> Result<u64, Cause> {
    Ok(resume_sequence(&js.get_stream(stream).await?, name).await?.map_or(0, |next| next - 1))
}

/// Where a queue goes on: after what its consumer has acknowledged, or where the position was saved.
async fn resume_sequence(stream: &Stream, name: &str) -> Result<Option<u64>, Cause> {
    match info(stream, name).await? {
        Some(found) => Ok(Some(found.ack_floor.stream_sequence + 1)),
        None => Ok(info(stream, &position_consumer(name)).await?.and_then(|saved| start_sequence(&saved))),
    }
}

/// The name under which the position is saved while the consumer is made anew.
fn position_consumer(name: &str) -> String {
    format!("{name}-place")
}

/// What the broker says of a consumer, if it has it.
async fn info(stream: &Stream, name: &str) -> Result<Option<Info>, Cause> {
    match stream.consumer_info(name).await {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Where a consumer was made to begin.
const fn start_sequence(info: &Info) -> Option<u64> {
    match info.config.deliver_policy {
        DeliverPolicy::ByStartSequence { start_sequence } => Some(start_sequence),
        _ => None,
    }
}

/// Removes a consumer; fine if there is none.
async fn delete(stream: &Stream, name: &str) -> Result<(), Cause> {
    match stream.delete_consumer(name).await.map_err(|error| (error.kind(), error)) {
        Ok(_) => Ok(()),
        Err((ConsumerErrorKind::JetStream(reply), _)) if reply.error_code() == ErrorCode::CONSUMER_NOT_FOUND => Ok(()),
        Err((_, error)) => Err(error.into()),
    }
}
