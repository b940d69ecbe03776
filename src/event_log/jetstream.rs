//! The log on JetStream: the adapter that everything in production goes through.
//!
//! In: the port's calls. Out: the port's answers. An append is one publish with a literal expectation. What makes it
//! more than that is the answer that does not come: it means unknown, so the same event is published again until an
//! answer is final, and then looked for by its id.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::GetStreamError;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::{Context, Message, stream};
use dockhost_domain::envelope::RecordedEvent;
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::{ALL_EVENTS, AggregateId};
use dockhost_domain::timestamp::Timestamp;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesOrdered};
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep, timeout_at};

use super::batch::send_batch;
use super::codec::{self, Codec, Decoded, StoredMessage};
use super::durable::DurableReader;
use super::leader_reads::{self, LeaderReads};
use super::publish::{OutgoingMessage, PublishOutcome, outgoing, send};
use super::reader::{OrderedReader, decoded, subjects};
use super::{Append, AppendError, Delivery, EventLog, Filter, FirstPage, LogError};
use crate::broker::consumer::pull::{PullResult, Puller, ephemeral_consumer};
use crate::broker::streams::{self, EVENTS, StreamError, StreamOptions};
use crate::common::clock;
use crate::common::error::Cause;
use crate::common::error::chain;
use crate::common::retry::{STARTUP_DEADLINE, until_deadline};
use crate::sealing::{BucketKeyStore, KeyError, Keyring, LogAge, MasterKey};

/// Events of one aggregate that are fetched one by one; a longer tail is worth a consumer of its own, which costs as
/// much as four gets to make.
const MAX_SINGLE_GETS: usize = 4;
/// Messages of a long tail that are asked for at once.
const BULK_MESSAGES_PER_PULL: usize = 2000;
/// Messages of it that are decoded in one task.
const MESSAGES_PER_DECODE_TASK: usize = 250;
/// An operator who restores the log from a backup sets this key of the stream's metadata to something new.
const INCARNATION_METADATA_KEY: &str = "dockhost-incarnation";
/// The longest pause between two attempts to append.
const MAX_APPEND_RETRY_DELAY: Duration = Duration::from_millis(400);

/// How the log is used.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// The streams' settings.
    pub streams: StreamOptions,
    /// How long one attempt waits for its answer.
    pub attempt_timeout: Duration,
    /// How long an append is tried before its fate is called unknown.
    pub append_timeout: Duration,
}

impl Default for LogOptions {
    fn default() -> Self {
        let (attempt_timeout, append_timeout) = (Duration::from_secs(2), Duration::from_secs(5));
        Self { streams: StreamOptions::default(), attempt_timeout, append_timeout }
    }
}

/// The log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A stream is not as it must be.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The keys are not as they must be.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An import has begun and not ended.
    #[error("an import into this log is not finished; run `dockhost import` again, it goes on where it was")]
    ImportUnfinished,
}

/// The log on JetStream.
#[derive(Debug, Clone)]
pub struct JetStreamLog {
    client: Client,
    js: Context,
    reads: LeaderReads,
    codec: Codec,
    keyring: Arc<Keyring>,
    incarnation: Incarnation,
    options: LogOptions,
}

impl JetStreamLog {
    /// Makes or checks the streams, then the keys.
    ///
    /// # Errors
    /// [`OpenError`], which says what is not as it must be.
    pub async fn open(client: Client, master: MasterKey, options: LogOptions) -> Result<Self, OpenError> {
        let js = leader_reads::context(&client, options.attempt_timeout);
        let events = streams::ensure(&js, &options.streams).await?;
        if events.config.metadata.contains_key(streams::IMPORT_MARKER) {
            return Err(OpenError::ImportUnfinished);
        }
        let unavailable = |error: GetStreamError| LogError::Unavailable(error.into());
        let reads = LeaderReads::new(&js).await.map_err(unavailable)?;
        // Asked before the keys are read: whoever appended the first event had made them by then.
        let deadline = Instant::now() + STARTUP_DEADLINE;
        let last =
            until_deadline("the log", deadline, |error| Some(chain(error)), || reads.last_sequence(ALL_EVENTS)).await?;
        let age = if last == 0 { LogAge::Empty } else { LogAge::InUse };
        let bucket =
            until_deadline("the keys", deadline, |error| Some(chain(error)), || js.get_key_value(streams::KEYS_BUCKET))
                .await;
        let bucket = bucket.map_err(|error| KeyError::Unavailable(error.into()))?;
        let keyring = Keyring::open(Arc::new(BucketKeyStore::new(bucket)), master, age).await?;
        let keyring = Arc::new(keyring.with_erasures(Arc::new(reads.clone())));
        Ok(Self {
            codec: Codec::new(Arc::clone(&keyring)),
            incarnation: incarnation(&events),
            client,
            js,
            reads,
            keyring,
            options,
        })
    }

    /// The keys of this log, which also name its claims.
    #[must_use]
    pub const fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// When the event at this sequence on this subject was stored, as the broker says.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn stored_at(&self, subject: &str, sequence: u64) -> Result<Option<Timestamp>, LogError> {
        let found = self.reads.next(subject, sequence).await?.filter(|message| message.sequence == sequence);
        let millis = found.map(|message| message.time.unix_timestamp_nanos() / 1_000_000);
        Ok(millis.and_then(|millis| i64::try_from(millis).ok()).map(Timestamp::from_millis))
    }

    /// A durable reader of EVENTS: it goes on, in any process, after what was acknowledged under `name`.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn durable(&self, name: &str, filter: Filter) -> Result<DurableReader, LogError> {
        DurableReader::open(self.js.clone(), self.codec.clone(), name, filter).await
    }

    /// Tries until an answer is final or the budget is spent.
    async fn append_until_final(&self, entries: &[Append]) -> Result<u64, AppendError> {
        let mut messages = Vec::with_capacity(entries.len());
        for entry in entries {
            messages.push(outgoing(&self.codec, entry).await.map_err(AppendError::Unavailable)?);
        }
        let deadline = Instant::now() + self.options.append_timeout;
        let mut pause = Duration::from_millis(20);
        // Set once an attempt may have been stored without our knowing.
        let mut uncertain: Option<Cause> = None;
        loop {
            let attempt = self.options.attempt_timeout.min(deadline - Instant::now());
            match (self.attempt(messages.clone(), attempt).await, &uncertain) {
                (PublishOutcome::Stored(sequence), _) => return Ok(sequence),
                (PublishOutcome::Conflict, _) => match self.find(entries).await {
                    Ok(Some(sequence)) => return Ok(sequence),
                    Ok(None) => return Err(AppendError::Conflict),
                    Err(_) if uncertain.is_none() => return Err(AppendError::Conflict),
                    Err(error) => uncertain = Some(error.into()),
                },
                (PublishOutcome::AlreadyStored, _) => match self.find(entries).await {
                    Ok(Some(sequence)) => return Ok(sequence),
                    Ok(None) => {
                        uncertain = Some("the broker says that it has the batch, but shows no such event".into());
                    }
                    Err(error) => uncertain = Some(error.into()),
                },
                // It may be our own earlier attempt that is under way; only without one is it somebody else's.
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
            if Instant::now() + pause >= deadline {
                return match self.find(entries).await {
                    Ok(Some(sequence)) => Ok(sequence),
                    Ok(None) | Err(_) => {
                        Err(AppendError::Unknown(uncertain.unwrap_or_else(|| "no final answer in time".into())))
                    }
                };
            }
            sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(MAX_APPEND_RETRY_DELAY);
        }
    }

    async fn attempt(&self, mut messages: Vec<OutgoingMessage>, timeout: Duration) -> PublishOutcome {
        match messages.len() {
            1 => send(&self.client, messages.remove(0), timeout).await,
            _ => send_batch(&self.client, &clock::fresh_uuid().to_string(), messages, timeout).await,
        }
    }

    /// Looks for the last of these events (all or none are stored) on its subject, from its expected position on.
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

    /// The next few events, and whether there are no more.
    async fn first_page(&self, subject: &str, after: u64) -> Result<FirstPage, LogError> {
        let mut events = Vec::new();
        let mut position = after;
        for _ in 0..MAX_SINGLE_GETS {
            let Some(message) = self.reads.next(subject, position + 1).await? else {
                return Ok(FirstPage { events, complete: true });
            };
            position = message.sequence;
            events.push(self.recorded(&message).await?);
        }
        Ok(FirstPage { events, complete: false })
    }

    async fn load_tail(&self, aggregate: AggregateId, after: u64) -> Result<Vec<RecordedEvent>, LogError> {
        let subject = aggregate.to_string();
        let FirstPage { mut events, complete } = self.first_page(&subject, after).await?;
        if !complete {
            let position = events.last().map_or(after, |last| last.sequence);
            self.load_bulk(&subject, position, &mut events).await?;
        }
        Ok(events)
    }

    /// Reads the rest by a consumer. It may sit on a replica that lags, but a replica holds a prefix of the leader's
    /// log: what reaches the leader's last sequence is complete. Decoding takes longer than reading, so it is done in
    /// tasks beside it. There is no bound on the whole: as long as messages come, it gets somewhere.
    async fn load_bulk(&self, subject: &str, after: u64, events: &mut Vec<RecordedEvent>) -> Result<(), LogError> {
        let last = self.reads.last_sequence(subject).await?;
        let mut position = after;
        if last <= position {
            return Ok(());
        }
        let config = ephemeral_consumer(after, subject, Duration::from_secs(5));
        let mut puller =
            Puller::open(&self.js, EVENTS, config, BULK_MESSAGES_PER_PULL).await.map_err(LogError::Unavailable)?;
        let mut delivered = 0;
        let mut deadline = Instant::now() + self.options.append_timeout;
        let (mut chunk, mut decoding) = (Vec::new(), FuturesOrdered::new());
        while position < last {
            let message = match timeout_at(deadline, puller.next()).await {
                Ok(PullResult::Message(message)) => *message,
                Ok(PullResult::Heartbeat) => continue,
                Ok(PullResult::Broken(cause)) => return Err(LogError::Unavailable(cause)),
                Err(elapsed) => return Err(LogError::Unavailable(elapsed.into())),
            };
            let info = message.info().map_err(LogError::Unavailable)?;
            delivered += 1;
            if info.consumer_sequence != delivered {
                return Err(LogError::Unavailable("a message was lost on the way".into()));
            }
            position = info.stream_sequence;
            deadline = Instant::now() + self.options.append_timeout;
            chunk.push((position, message));
            if chunk.len() == MESSAGES_PER_DECODE_TASK || position >= last {
                decoding.push_back(tokio::spawn(self.clone().decoded(std::mem::take(&mut chunk))));
            }
        }
        while let Some(decoded) = decoding.next().await {
            events.extend(decoded.map_err(|error| LogError::Unavailable(error.into()))??);
        }
        Ok(())
    }

    async fn decoded(self, messages: Vec<(u64, Message)>) -> Result<Vec<RecordedEvent>, LogError> {
        let mut events = Vec::with_capacity(messages.len());
        for (sequence, message) in messages {
            let headers = message.message.headers.unwrap_or_default();
            let (subject, body) = (&message.message.subject, &message.message.payload);
            events.push(self.decode_or_freeze(&StoredMessage { sequence, subject, headers: &headers, body }).await?);
        }
        Ok(events)
    }

    async fn recorded(&self, message: &StreamMessage) -> Result<RecordedEvent, LogError> {
        self.decode_or_freeze(&StoredMessage {
            sequence: message.sequence,
            subject: &message.subject,
            headers: &message.headers,
            body: &message.payload,
        })
        .await
    }

    async fn decode_or_freeze(&self, stored: &StoredMessage<'_>) -> Result<RecordedEvent, LogError> {
        match self.codec.decode(stored).await {
            Ok(Decoded::Event(recorded)) => Ok(Arc::unwrap_or_clone(recorded)),
            Ok(Decoded::Unreadable { sequence, why }) => Err(LogError::Frozen { sequence, why: why.into() }),
            Err(error) => Err(LogError::Unavailable(error.into())),
        }
    }
}

/// The stream's birth tells it from one made anew; the metadata tells it from one that was restored.
pub(super) fn incarnation(info: &stream::Info) -> Incarnation {
    let born = format!("{:x}", info.created.unix_timestamp_nanos());
    let restored = info.config.metadata.get(INCARNATION_METADATA_KEY).map(String::as_str);
    // A dot would end the incarnation inside a position.
    restored.map_or_else(|| born.clone(), |word| format!("{born}-{}", word.replace('.', "_"))).into()
}

impl EventLog for JetStreamLog {
    fn append(&self, entry: Append) -> BoxFuture<'_, Result<u64, AppendError>> {
        async move { self.append_until_final(&[entry]).await }.boxed()
    }

    fn append_batch(&self, entries: Vec<Append>) -> BoxFuture<'_, Result<u64, AppendError>> {
        async move { self.append_until_final(&entries).await }.boxed()
    }

    fn load(&self, aggregate: AggregateId, after: u64) -> BoxFuture<'_, Result<Vec<RecordedEvent>, LogError>> {
        self.load_tail(aggregate, after).boxed()
    }

    fn load_first(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<FirstPage, LogError>> {
        async move { self.first_page(&aggregate.to_string(), 0).await }.boxed()
    }

    fn last_sequence(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<u64, LogError>> {
        async move { self.reads.last_sequence(&aggregate.to_string()).await }.boxed()
    }

    fn end(&self, filter: Filter) -> BoxFuture<'_, Result<u64, LogError>> {
        async move { self.reads.last_sequence(&subjects(filter)).await }.boxed()
    }

    fn follow(&self, after: u64, filter: Filter) -> BoxStream<'static, Delivery> {
        let reader = OrderedReader::new(self.js.clone(), self.reads.clone(), after, filter);
        let raw = futures::stream::unfold(reader, async |mut reader| Some((reader.next().await, reader)));
        decoded(raw, self.codec.clone())
    }

    fn incarnation(&self) -> &Incarnation {
        &self.incarnation
    }
}
