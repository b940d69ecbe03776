//! The durable reader of EVENTS, for the roles of the leader whose place must outlive the process.
//!
//! In: a name, under which the broker keeps what was acknowledged. Out: jobs, each an event with the acknowledgement
//! to be given after its work. A job that isn't acknowledged comes again, perhaps out of order and perhaps although
//! its work was done: what is done for it must bear that.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{AckKind, Context, Message};
use futures::FutureExt;
use tokio::time::timeout;

use super::codec::Codec;
use super::follow::{decode, subjects};
use super::pull::{Pulled, Puller};
use super::streams::EVENTS;
use super::{Cause, Delivery, Filter, LogError};

/// A job comes again when it wasn't acknowledged for so long.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Jobs that may be unacknowledged at once.
const OPEN_JOBS: i64 = 1000;
/// Jobs asked for at once.
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

    /// The work is done. Should this get lost, the job comes again.
    ///
    /// # Errors
    /// If the connection is closed.
    pub async fn done(self) -> Result<(), Cause> {
        self.0.ack().await
    }

    /// The work could not be done: the job comes again after `pause`.
    ///
    /// # Errors
    /// If the connection is closed.
    pub async fn again(self, pause: Duration) -> Result<(), Cause> {
        self.0.ack_with(AckKind::Nak(Some(pause))).await
    }
}

/// One event to be worked on.
#[derive(Debug)]
pub struct Job {
    /// [`Delivery::Event`] or [`Delivery::Unreadable`].
    pub delivery: Delivery,
    /// To be given after the work.
    pub ack: Ack,
}

/// A durable, named reader.
pub struct DurableReader {
    js: Context,
    codec: Codec,
    config: pull::Config,
    puller: Option<Puller>,
}

impl DurableReader {
    /// Makes the broker's side of it, or takes it up where it stands.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn open(js: Context, codec: Codec, name: &str, filter: Filter) -> Result<Self, LogError> {
        let config = pull::Config {
            durable_name: Some(name.to_owned()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: OPEN_JOBS,
            filter_subject: subjects(filter),
            ..pull::Config::default()
        };
        let mut reader = Self { js, codec, config, puller: None };
        reader.puller().await?;
        Ok(reader)
    }

    /// What is there, at most `max` jobs; waits up to `wait` for the first. Empty when nothing came.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] while the broker or a key cannot be reached; the next call tries anew.
    pub async fn next_batch(&mut self, max: usize, wait: Duration) -> Result<Vec<Job>, LogError> {
        let mut messages = Vec::new();
        match timeout(wait, self.first()).await {
            Ok(Ok(message)) => messages.push(message),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Ok(Vec::new()),
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
        let mut jobs = Vec::with_capacity(messages.len());
        for message in messages {
            let sequence = message.info().map_err(LogError::Unavailable)?.stream_sequence;
            let delivery = decode(&self.codec, sequence, &message).await;
            let delivery = delivery.map_err(|error| LogError::Unavailable(error.into()))?;
            jobs.push(Job { delivery, ack: Ack::of(message) });
        }
        Ok(jobs)
    }

    async fn first(&mut self) -> Result<Box<Message>, LogError> {
        loop {
            match self.puller().await?.next().await {
                Pulled::Message(message) => return Ok(message),
                Pulled::Heartbeat => {}
                Pulled::Broken(cause) => {
                    self.puller = None;
                    return Err(LogError::Unavailable(cause));
                }
            }
        }
    }

    async fn puller(&mut self) -> Result<&mut Puller, LogError> {
        if self.puller.is_none() {
            let opened = Puller::open(&self.js, EVENTS, self.config.clone(), BATCH).await;
            self.puller = Some(opened.map_err(LogError::Unavailable)?);
        }
        self.puller.as_mut().ok_or_else(|| LogError::Unavailable("no reader".into()))
    }
}
