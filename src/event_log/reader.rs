//! The ordered reader: all events after a position, without a gap, for ever.
//!
//! In: a position and a filter. Out: messages, which [`decoded`] makes deliveries of, ahead of whoever reads them and on
//! all cores, but in order. It trusts nobody's word that all is well: order is checked on each
//! message, and in quiet the stream's leader is asked whether there really is nothing new, so that a consumer that
//! got stuck, or sits on a node that was cut off, is found out and made anew.

use std::time::Duration;

use async_nats::jetstream::{Context, Message};
use dockhost_domain::subject::ALL_EVENTS;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, warn};

use super::codec::{Codec, Decoded, StoredMessage};
use super::leader_reads::LeaderReads;
use super::{Delivery, Filter};
use crate::broker::consumer::pull::{PullResult, Puller, ephemeral_consumer};
use crate::broker::streams::EVENTS;
use crate::common::error::Cause;
use crate::sealing::KeyError;

/// Events asked for at once: many, for nothing comes while the next are asked for.
const MESSAGES_PER_PULL: usize = 5000;
/// In quiet the leader is asked this often at most.
const LEADER_CHECK_INTERVAL: Duration = Duration::from_millis(900);
/// An abandoned consumer goes away after this long.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(30);
/// Pauses between attempts to reach the broker.
const REOPEN_DELAYS: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1)];
/// Pause between attempts to get a key.
const KEY_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Messages that are decoded as one task.
const MESSAGES_PER_DECODE_TASK: usize = 128;
/// Such tasks at once, and the most that are decoded ahead of the reader.
const MAX_DECODE_TASKS: usize = 8;
/// Keys that one such task asks for at once.
const CONCURRENT_KEY_LOOKUPS: usize = 16;

/// What was read, in order.
pub enum RawDelivery {
    /// The next message, and its place in the stream.
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
    }
}

/// One ordered read of EVENTS.
pub struct OrderedReader {
    js: Context,
    reads: LeaderReads,
    subjects: String,
    /// The last sequence that was handed on.
    position: u64,
    /// Where the log ended when reading began; `None` until known.
    initial_end: Option<u64>,
    caught_up: bool,
    puller: Option<Puller>,
    /// The consumer's own count of what it delivered.
    delivered: u64,
    failures: usize,
    last_leader_check: Instant,
    /// Where the reader stood when the leader last said that there is more.
    behind_at: Option<u64>,
}

impl OrderedReader {
    /// Reads what comes after `after`.
    #[must_use]
    pub fn new(js: Context, reads: LeaderReads, after: u64, filter: Filter) -> Self {
        Self {
            js,
            reads,
            subjects: subjects(filter),
            position: after,
            initial_end: None,
            caught_up: false,
            puller: None,
            delivered: 0,
            failures: 0,
            last_leader_check: Instant::now(),
            behind_at: None,
        }
    }

    /// What is read next; never ends.
    pub async fn next(&mut self) -> RawDelivery {
        loop {
            let Some(puller) = &mut self.puller else {
                if let Err(cause) = self.open().await {
                    self.wait_before_reopening(&cause).await;
                }
                continue;
            };
            if !self.caught_up && self.initial_end.is_some_and(|initial_end| initial_end <= self.position) {
                self.caught_up = true;
                return RawDelivery::CaughtUp;
            }
            match puller.next().await {
                PullResult::Message(message) => {
                    if let Some(sequence) = self.accept(&message) {
                        return RawDelivery::Message(sequence, message);
                    }
                }
                PullResult::Heartbeat => {
                    if self.last_leader_check.elapsed() >= LEADER_CHECK_INTERVAL && self.is_up_to_date().await {
                        return RawDelivery::Idle;
                    }
                }
                PullResult::Broken(cause) => {
                    debug!(subjects = %self.subjects, position = self.position, %cause, "reading anew");
                    self.puller = None;
                }
            }
        }
    }

    async fn open(&mut self) -> Result<(), Cause> {
        if self.initial_end.is_none() {
            self.initial_end = Some(self.reads.last_sequence(&self.subjects).await?);
        }
        let config = ephemeral_consumer(self.position, self.subjects.clone(), INACTIVE_THRESHOLD);
        self.puller = Some(Puller::open(&self.js, EVENTS, config, MESSAGES_PER_PULL).await?);
        self.delivered = 0;
        self.failures = 0;
        self.behind_at = None;
        Ok(())
    }

    async fn wait_before_reopening(&mut self, cause: &Cause) {
        let pause = REOPEN_DELAYS[self.failures.min(REOPEN_DELAYS.len() - 1)];
        self.failures += 1;
        if self.failures == REOPEN_DELAYS.len() {
            warn!(subjects = %self.subjects, position = self.position, %cause, "the log cannot be read; trying on");
        }
        sleep(pause).await;
    }

    /// Whether the leader has nothing that wasn't delivered. Said twice at one position that there is more, the
    /// consumer is stuck and is made anew.
    async fn is_up_to_date(&mut self) -> bool {
        self.last_leader_check = Instant::now();
        match self.reads.last_sequence(&self.subjects).await {
            Ok(last) if last <= self.position => true,
            Ok(last) => {
                if self.behind_at.replace(self.position) == Some(self.position) {
                    warn!(subjects = %self.subjects, position = self.position, last, "the reader is stuck; reading anew");
                    self.puller = None;
                }
                false
            }
            Err(_) => false,
        }
    }

    /// The message's place, if it is the next one.
    fn accept(&mut self, message: &Message) -> Option<u64> {
        let sequence = match message.info() {
            Ok(info) if info.consumer_sequence == self.delivered + 1 && info.stream_sequence > self.position => {
                self.delivered = info.consumer_sequence;
                info.stream_sequence
            }
            // Lost or repeated on the way.
            _ => {
                self.puller = None;
                return None;
            }
        };
        self.position = sequence;
        self.last_leader_check = Instant::now();
        Some(sequence)
    }
}

/// Decodes what is read, in order. What is there at once is decoded in tasks of its own while the reader works on what
/// came before; a message that comes alone is not handed about.
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
            // The runtime is going down, and this with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// In order; a key that has to be asked for holds up nobody else's.
async fn decode_all(codec: Codec, chunk: Vec<RawDelivery>) -> Vec<Delivery> {
    let deliveries = stream::iter(chunk).map(async |raw| match raw {
        RawDelivery::Message(sequence, message) => decode_with_retry(&codec, sequence, &message).await,
        RawDelivery::CaughtUp => Delivery::CaughtUp,
        RawDelivery::Idle => Delivery::Idle,
    });
    deliveries.buffered(CONCURRENT_KEY_LOOKUPS).collect().await
}

/// Reads a delivered message; without its key the reader stands still, loudly, until the key is there: going on would
/// fold a hole, and taking the value for erased would be a lie.
async fn decode_with_retry(codec: &Codec, sequence: u64, message: &Message) -> Delivery {
    loop {
        match decode(codec, sequence, message).await {
            Ok(delivery) => return delivery,
            Err(cause) => {
                error!(sequence, subject = %message.subject, %cause, "a key is needed to read on; waiting for it");
                sleep(KEY_RETRY_INTERVAL).await;
            }
        }
    }
}

/// Reads a delivered message.
///
/// # Errors
/// [`KeyError`] if its key cannot be had.
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
        Decoded::Unreadable { sequence, why } => {
            Delivery::Unreadable { sequence, subject: message.subject.to_string(), why }
        }
    })
}
