//! A durable consumer of any stream, read in batches by one role of the leader.
//!
//! In: a stream and the consumer's settings. Out: messages that each must be acknowledged after the work; one that
//! isn't comes again, so what is done for it must bear that. Anything odd ends the reader inside; the next call opens
//! it anew where the broker says it stands.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{AckKind, Context, Message};
use futures::FutureExt;
use tokio::time::timeout;

use super::Cause;
use super::pull::{Pulled, Puller};

/// A message comes again when it wasn't acknowledged for so long.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Messages that may be unacknowledged at once.
const OPEN: i64 = 1000;
/// Messages asked for at once.
const BATCH: usize = 64;

/// The acknowledgement of one message.
#[derive(Debug)]
pub struct Ack(Box<Message>);

impl Ack {
    /// Of this message.
    #[must_use]
    pub const fn of(message: Box<Message>) -> Self {
        Self(message)
    }

    /// The work is done. Should this get lost, the message comes again.
    ///
    /// # Errors
    /// If the connection is closed.
    pub async fn done(self) -> Result<(), Cause> {
        self.0.ack().await
    }

    /// The work could not be done: the message comes again after `pause`.
    ///
    /// # Errors
    /// If the connection is closed.
    pub async fn again(self, pause: Duration) -> Result<(), Cause> {
        self.0.ack_with(AckKind::Nak(Some(pause))).await
    }
}

/// A durable, named consumer.
pub struct Queue {
    js: Context,
    stream: &'static str,
    config: pull::Config,
    puller: Option<Puller>,
}

impl Queue {
    /// Names the consumer; the broker's side is made, or taken up, by the first call that reads.
    #[must_use]
    pub fn new(js: Context, stream: &'static str, name: &str, filter: String) -> Self {
        let config = pull::Config {
            durable_name: Some(name.to_owned()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: OPEN,
            filter_subject: filter,
            ..pull::Config::default()
        };
        Self { js, stream, config, puller: None }
    }

    /// What is there, at most `max` messages; waits up to `wait` for the first. Empty when nothing came.
    ///
    /// # Errors
    /// While the broker cannot be reached; the next call tries anew.
    pub async fn next_batch(&mut self, max: usize, wait: Duration) -> Result<Vec<Box<Message>>, Cause> {
        let mut messages = Vec::new();
        match timeout(wait, self.first()).await {
            Ok(first) => messages.push(first?),
            Err(_) => return Ok(messages),
        }
        let puller = self.puller().await?;
        while messages.len() < max {
            match puller.next().now_or_never() {
                Some(Pulled::Message(message)) => messages.push(message),
                Some(Pulled::Heartbeat) => {}
                Some(Pulled::Broken(_)) => {
                    self.puller = None;
                    break;
                }
                None => break,
            }
        }
        Ok(messages)
    }

    async fn first(&mut self) -> Result<Box<Message>, Cause> {
        loop {
            match self.puller().await?.next().await {
                Pulled::Message(message) => return Ok(message),
                Pulled::Heartbeat => {}
                Pulled::Broken(cause) => {
                    self.puller = None;
                    return Err(cause);
                }
            }
        }
    }

    /// Opens the broker's side if it isn't open.
    ///
    /// # Errors
    /// What the broker or the client says.
    pub async fn puller(&mut self) -> Result<&mut Puller, Cause> {
        if self.puller.is_none() {
            self.puller = Some(Puller::open(&self.js, self.stream, self.config.clone(), BATCH).await?);
        }
        self.puller.as_mut().ok_or_else(|| "no reader".into())
    }
}
