//! The ordered reader: all events after a sequence, without a gap, for ever.
//!
//! While nothing new arrives it asks the stream's leader whether there is more, so that a consumer that is stuck, or
//! sits on a node that was cut off, is detected and created again. [`decoded`] decodes ahead of the caller, on all
//! cores and in order.

use std::time::Duration;

use async_nats::jetstream::{Context, Message};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use dockhost_domain::subject::ALL_EVENTS;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, warn};

use super::codec::{Codec, Decoded, StoredMessage};
use super::leader_reads::LeaderReads;
use super::{Delivery, Filter, LogError};
use crate::broker::consumer::ordered::{OrderedConfig, OrderedConsumer};
use crate::broker::streams::EVENTS;
use crate::common::error::Cause;
use crate::common::log_throttle::LogThrottle;
use crate::sealing::KeyError;

const MESSAGES_PER_PULL: usize = 5000;
/// The shortest interval between two questions to the leader whether there is more.
const LEADER_CHECK_INTERVAL: Duration = Duration::from_millis(900);
/// The broker removes an abandoned consumer after this long.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(30);
/// The delays between attempts to open a consumer.
const REOPEN_BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(50))
    .with_max_delay(Duration::from_secs(1))
    .with_jitter()
    .without_max_times();
/// After this many failures in a row the reader logs a warning.
const FAILURES_BEFORE_WARNING: usize = 4;
const KEY_RETRY_INTERVAL: Duration = Duration::from_secs(1);
const MESSAGES_PER_DECODE_TASK: usize = 128;
/// Decoding tasks at once, and so the most chunks that are decoded ahead of the caller.
const MAX_DECODE_TASKS: usize = 8;
/// Keys that one decoding task looks up at once.
const CONCURRENT_KEY_LOOKUPS: usize = 16;

/// What the reader delivers, before decoding.
pub enum RawDelivery {
    /// The next message and its sequence.
    Message(u64, Box<Message>),
    /// As [`Delivery::CaughtUp`].
    CaughtUp,
    /// As [`Delivery::Idle`].
    Idle,
}

/// The subjects that a filter selects.
#[must_use]
pub fn subjects(filter: Filter) -> String {
    match filter {
        Filter::All => ALL_EVENTS.to_owned(),
        Filter::Kind(kind) => format!("dockhost.event.{kind}.>"),
        Filter::One(aggregate) => aggregate.to_string(),
        Filter::Owner(id) => format!("dockhost.event.*.{id}"),
    }
}

/// One ordered read of EVENTS.
pub struct OrderedReader {
    reads: LeaderReads,
    subjects: String,
    consumer: OrderedConsumer,
    /// The last sequence when the read began; `None` until the leader has answered.
    initial_end: Option<u64>,
    caught_up: bool,
    backoff: ExponentialBackoff,
    failures: usize,
    last_leader_check: Instant,
    /// The filter selects nothing between the position and this sequence, as the leader said.
    nothing_until: u64,
    /// The position at which the leader last answered that there is more.
    behind_at: Option<u64>,
}

impl OrderedReader {
    /// Reads the events after a sequence.
    #[must_use]
    pub fn new(js: Context, reads: LeaderReads, after: u64, filter: Filter) -> Self {
        let subjects = subjects(filter);
        let config = OrderedConfig {
            stream: EVENTS,
            filter: subjects.clone(),
            after,
            messages_per_pull: MESSAGES_PER_PULL,
            inactive_threshold: INACTIVE_THRESHOLD,
        };
        Self {
            reads,
            subjects,
            consumer: OrderedConsumer::new(js, config),
            initial_end: None,
            caught_up: false,
            backoff: REOPEN_BACKOFF.build(),
            failures: 0,
            last_leader_check: Instant::now(),
            nothing_until: 0,
            behind_at: None,
        }
    }

    /// The next delivery. Waits for ever while the broker is away.
    pub async fn next(&mut self) -> RawDelivery {
        loop {
            if !self.caught_up && self.initial_end.is_some_and(|end| end <= self.consumer.position()) {
                self.caught_up = true;
                return RawDelivery::CaughtUp;
            }
            match self.read().await {
                Ok(delivery) => {
                    if self.failures > 0 {
                        (self.failures, self.backoff) = (0, REOPEN_BACKOFF.build());
                    }
                    if let Some(delivery) = delivery {
                        return delivery;
                    }
                }
                Err(cause) => self.wait_before_reopening(&cause).await,
            }
        }
    }

    async fn read(&mut self) -> Result<Option<RawDelivery>, Cause> {
        if self.initial_end.is_none() {
            self.initial_end = Some(match self.subjects.as_str() {
                ALL_EVENTS => self.reads.end().await?,
                subjects => self.reads.last_sequence(subjects).await?,
            });
            return Ok(None);
        }
        if let Some((sequence, message)) = self.consumer.next().await? {
            self.last_leader_check = Instant::now();
            return Ok(Some(RawDelivery::Message(sequence, message)));
        }
        let is_due = self.last_leader_check.elapsed() >= LEADER_CHECK_INTERVAL;
        Ok((is_due && self.is_up_to_date().await).then_some(RawDelivery::Idle))
    }

    async fn wait_before_reopening(&mut self, cause: &Cause) {
        let (subjects, position) = (&self.subjects, self.consumer.position());
        self.behind_at = None;
        self.failures += 1;
        if self.failures == FAILURES_BEFORE_WARNING {
            warn!(subjects, position, %cause, "cannot read the log; retrying");
        } else {
            debug!(subjects, position, %cause, "reopening the consumer");
        }
        if let Some(delay) = self.backoff.next() {
            sleep(delay).await;
        }
    }

    /// Whether everything that the leader has was delivered. If the leader has more twice at the same position, the
    /// consumer is stuck and is discarded.
    async fn is_up_to_date(&mut self) -> bool {
        self.last_leader_check = Instant::now();
        let position = self.consumer.position();
        match self.next_at_leader(position).await {
            Ok(None) => true,
            Ok(Some(next)) => {
                if self.behind_at.replace(position) == Some(position) {
                    warn!(subjects = self.subjects, position, next, "the consumer is stuck; reopening it");
                    self.consumer.reset();
                    self.behind_at = None;
                }
                false
            }
            Err(_) => false,
        }
    }

    /// The first sequence after `position` that the filter selects, as the leader says. On a quiet log this asks for the
    /// stream's last sequence only, and otherwise searches only what is new since the last time: to search for the last
    /// message on a wildcard costs the broker the more, the more subjects there are.
    async fn next_at_leader(&mut self, position: u64) -> Result<Option<u64>, LogError> {
        let end = self.reads.end().await?;
        let checked = position.max(self.nothing_until);
        if end <= checked {
            return Ok(None);
        }
        let next = self.reads.next(&self.subjects, checked + 1).await?.map(|message| message.sequence);
        if next.is_none() {
            self.nothing_until = end;
        }
        Ok(next)
    }
}

/// Decodes raw deliveries, in order. Messages that are available together are decoded in tasks while the caller handles
/// earlier ones; a single message is decoded without a task.
pub fn decoded(raw: impl Stream<Item = RawDelivery> + Send + 'static, codec: Codec) -> BoxStream<'static, Delivery> {
    raw.ready_chunks(MESSAGES_PER_DECODE_TASK)
        .map(move |chunk| decode_chunk(codec.clone(), chunk))
        .buffered(MAX_DECODE_TASKS)
        .flat_map(stream::iter)
        .boxed()
}

async fn decode_chunk(codec: Codec, chunk: Vec<RawDelivery>) -> Vec<Delivery> {
    if chunk.len() == 1 {
        return decode_all(codec, chunk).await;
    }
    match AbortOnDropHandle::new(tokio::spawn(decode_all(codec, chunk))).await {
        Ok(deliveries) => deliveries,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime shuts down.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Decodes in order; a key lookup does not delay the lookups of other keys.
async fn decode_all(codec: Codec, chunk: Vec<RawDelivery>) -> Vec<Delivery> {
    let deliveries = stream::iter(chunk).map(async |raw| match raw {
        RawDelivery::Message(sequence, message) => decode_with_retry(&codec, sequence, &message).await,
        RawDelivery::CaughtUp => Delivery::CaughtUp,
        RawDelivery::Idle => Delivery::Idle,
    });
    deliveries.buffered(CONCURRENT_KEY_LOOKUPS).collect().await
}

/// Decodes a message. Without its key the reader stops and logs an error until the key is available: skipping the event
/// would leave a gap in the fold, and treating its values as erased would be wrong.
async fn decode_with_retry(codec: &Codec, sequence: u64, message: &Message) -> Delivery {
    let log = LogThrottle::per_minute();
    loop {
        match decode(codec, sequence, message).await {
            Ok(delivery) => return delivery,
            Err(cause) => {
                if log.permit().is_some() {
                    error!(sequence, subject = %message.subject, %cause, "cannot read on without the key; retrying");
                }
                sleep(KEY_RETRY_INTERVAL).await;
            }
        }
    }
}

/// Decodes a message.
///
/// # Errors
/// [`KeyError`] if its key is not available.
pub async fn decode(codec: &Codec, sequence: u64, message: &Message) -> Result<Delivery, KeyError> {
    let none = async_nats::HeaderMap::new();
    let stored = StoredMessage {
        sequence,
        subject: &message.subject,
        headers: message.headers.as_ref().unwrap_or(&none),
        body: &message.payload,
    };
    Ok(match codec.decode(&stored).await? {
        Decoded::Event(recorded) => Delivery::Event(recorded),
        Decoded::Barrier => Delivery::Barrier(sequence),
        Decoded::Unreadable { sequence, why } => {
            Delivery::Unreadable { sequence, subject: message.subject.to_string(), why }
        }
    })
}
