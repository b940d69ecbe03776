//! The log on JetStream: the adapter that production uses.
//!
//! - `barrier`: barriers, and the extent of a node's copy. `append`: appends, with retries until the outcome is known. `load`: reads of one aggregate.

mod append;
mod barrier;
mod load;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::GetStreamError;
use async_nats::jetstream::{Context, stream};
use dockhost_domain::envelope::RecordedEvent;
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::timestamp::Timestamp;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::time::Instant;

use super::barrier::Barriers;
use super::codec::Codec;
use super::durable::DurableReader;
use super::leader_reads::{self, LeaderReads};
use super::reader::{OrderedReader, decoded, subjects};
use super::size::LogSize;
use super::{Append, AppendError, Delivery, EventLog, Extent, Filter, FirstPage, Freshness, LogError, Proof};
use crate::broker::streams::{self, EVENTS, KEYS_BUCKET, StreamError, StreamOptions};
use crate::broker::write_proof::WriteProof;
use crate::common::error::chain;
use crate::common::retry::{STARTUP_DEADLINE, until_deadline};
use crate::sealing::{BucketKeyStore, KeyError, Keyring, LogAge, MasterKey};

/// The key of the stream's metadata that an operator sets to a new value after restoring the log from a backup.
const INCARNATION_METADATA_KEY: &str = "dockhost-incarnation";

/// How the log is used.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// The streams' settings.
    pub streams: StreamOptions,
    /// How long one attempt waits for its reply.
    pub attempt_timeout: Duration,
    /// How long an append is retried before its outcome counts as unknown, and how long a load waits for progress.
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
    /// A stream is missing or wrong.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The keys are missing or wrong.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An import has started and not finished.
    #[error("an import into this log is unfinished; run `dockhost import` again to resume it")]
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
    write_proof: Arc<WriteProof>,
    options: LogOptions,
    barriers: Arc<Barriers>,
    /// The copies of EVENTS, which an operator may change while the server runs.
    copies: Arc<AtomicUsize>,
}

impl JetStreamLog {
    /// Creates or checks the streams, then the keys; for a server.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(client: Client, master: MasterKey, options: LogOptions) -> Result<Self, OpenError> {
        let js = leader_reads::context(&client, options.attempt_timeout);
        let events = streams::ensure(&js, &options.streams).await?;
        let reads = leader_reads(&js).await?;
        let deadline = Instant::now() + STARTUP_DEADLINE;
        // The log is read before the keys: a replica creates the keys before it appends the first event.
        let last = until_deadline("the log", deadline, |e| Some(chain(e)), || reads.end()).await?;
        let age = if last == 0 { LogAge::Empty } else { LogAge::InUse };
        Self::with_streams(client, js, reads, &events, master, age, options).await
    }

    /// Opens the log that a server has created; creates and changes nothing. For commands that run beside servers.
    ///
    /// # Errors
    /// [`OpenError`]; [`StreamError::Missing`] if no server has created the streams.
    pub async fn open_existing(client: Client, master: MasterKey) -> Result<Self, OpenError> {
        let options = LogOptions::default();
        let js = leader_reads::context(&client, options.attempt_timeout);
        let events = streams::find(&js, EVENTS).await?;
        streams::find(&js, &format!("KV_{KEYS_BUCKET}")).await?;
        let reads = leader_reads(&js).await?;
        Self::with_streams(client, js, reads, &events, master, LogAge::InUse, options).await
    }

    async fn with_streams(
        client: Client,
        js: Context,
        reads: LeaderReads,
        events: &stream::Info,
        master: MasterKey,
        age: LogAge,
        options: LogOptions,
    ) -> Result<Self, OpenError> {
        if events.config.metadata.contains_key(streams::IMPORT_MARKER) {
            return Err(OpenError::ImportUnfinished);
        }
        let deadline = Instant::now() + STARTUP_DEADLINE;
        let bucket = until_deadline("the keys", deadline, |e| Some(chain(e)), || js.get_key_value(KEYS_BUCKET));
        let bucket = bucket.await.map_err(|error| KeyError::Unavailable(error.into()))?;
        let keyring = Keyring::open(Arc::new(BucketKeyStore::new(bucket)), master, age).await?;
        let keyring = Arc::new(keyring.with_erasures(Arc::new(reads.clone())));
        Ok(Self {
            codec: Codec::new(Arc::clone(&keyring)),
            incarnation: incarnation(events),
            client,
            js,
            reads,
            keyring,
            write_proof: Arc::default(),
            options,
            barriers: Arc::default(),
            copies: Arc::new(AtomicUsize::new(events.config.num_replicas)),
        })
    }

    /// The keys of this log.
    #[must_use]
    pub const fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// When the broker last acknowledged a write of this process.
    #[must_use]
    pub const fn write_proof(&self) -> &Arc<WriteProof> {
        &self.write_proof
    }

    /// How full the log is.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn size(&self) -> Result<LogSize, LogError> {
        let info = self.reads.state().await?;
        self.copies.store(info.config.num_replicas, Ordering::Relaxed);
        Ok(size(&info))
    }

    /// A durable reader of EVENTS, which resumes in any process after what was acknowledged under `name`.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn durable(&self, name: &str, filter: Filter) -> Result<DurableReader, LogError> {
        DurableReader::open(self.js.clone(), self.codec.clone(), name, filter).await
    }
}

/// How full the log is.
pub(super) fn size(info: &stream::Info) -> LogSize {
    // A limit of -1 or 0 is none.
    let max_bytes = u64::try_from(info.config.max_bytes).ok().filter(|max| *max > 0);
    LogSize { bytes: info.state.bytes, max_bytes }
}

async fn leader_reads(js: &Context) -> Result<LeaderReads, LogError> {
    LeaderReads::new(js).await.map_err(|error: GetStreamError| LogError::Unavailable(error.into()))
}

/// The stream's creation time distinguishes it from one that was created again; the metadata, from a restored one.
pub(super) fn incarnation(info: &stream::Info) -> Incarnation {
    let created = format!("{:x}", info.created.unix_timestamp_nanos());
    let restored = info.config.metadata.get(INCARNATION_METADATA_KEY);
    // A dot would end the incarnation inside a position.
    restored.map_or_else(|| created.clone(), |value| format!("{created}-{}", value.replace('.', "_"))).into()
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

    fn barrier(&self, freshness: Freshness) -> BoxFuture<'_, Result<Proof, LogError>> {
        self.prove(freshness).boxed()
    }

    fn extent(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<Option<Extent>, LogError>> {
        self.extent_of(aggregate).boxed()
    }

    fn stored_at<'a>(&'a self, subject: &'a str, sequence: u64) -> BoxFuture<'a, Result<Option<Timestamp>, LogError>> {
        async move {
            let found = self.reads.next(subject, sequence).await?.filter(|message| message.sequence == sequence);
            let millis = found.map(|message| message.time.unix_timestamp_nanos() / 1_000_000);
            Ok(millis.and_then(|millis| i64::try_from(millis).ok()).map(Timestamp::from_millis))
        }
        .boxed()
    }

    fn end(&self, filter: Filter) -> BoxFuture<'_, Result<u64, LogError>> {
        async move {
            match filter {
                Filter::All => self.reads.end().await,
                Filter::Kind(_) | Filter::One(_) | Filter::Owner(_) => {
                    self.reads.last_sequence(&subjects(filter)).await
                }
            }
        }
        .boxed()
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
