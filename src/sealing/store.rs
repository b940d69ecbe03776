//! The store of wrapped keys: a port, and its implementation on the bucket KEYS. Also the port that tells whether a
//! principal was erased, which only the log knows.
//!
//! All reads are answered by the leader of the bucket's stream: on a lagging replica, a key that was just created would
//! look like a lost one.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::kv::{CreateError, Operation, Store, UpdateErrorKind};
use async_nats::jetstream::stream::{DeleteMessageErrorKind, LastRawMessageErrorKind};
use backon::{ConstantBuilder, Retryable};
use bytes::Bytes;
use dockhost_domain::ids::PrincipalId;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use tokio::time::timeout;

use crate::broker::consumer::pull::ephemeral_consumer;
use crate::broker::is_conflict_in_flight;
use crate::common::error::Cause;

/// How often, and at which interval, `get_or_create` repeats while another replica's create is under way: together
/// longer than a replicated stream takes to store a message.
const MAX_CREATE_RETRIES: usize = 50;
const CREATE_RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// The deadline of one bulk read.
const BULK_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The header of a tombstone, which a bucket stores where a key was deleted.
const TOMBSTONE_HEADER: &str = "KV-Operation";

/// A store of wrapped keys.
pub trait KeyStore: Send + Sync + 'static {
    /// The value under this name.
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Cause>>;

    /// At most `limit` of the stored values with their names, for callers that need most of them. Each was still stored
    /// after it was read.
    fn get_many(&self, limit: usize) -> BoxFuture<'_, Result<Vec<(String, Bytes)>, Cause>>;

    /// Stores `value` unless the name has one; returns the stored value, so that two replicas which create the same key
    /// at once use the same one.
    fn get_or_create<'a>(&'a self, name: &'a str, value: Bytes) -> BoxFuture<'a, Result<Bytes, Cause>>;

    /// Replaces `old` under this name with `new`. `false` if the name has no value, or another one.
    fn replace<'a>(&'a self, name: &'a str, old: &'a Bytes, new: Bytes) -> BoxFuture<'a, Result<bool, Cause>>;

    /// Removes the value under this name so that its bytes are overwritten. Succeeds if there is none.
    fn destroy<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Cause>>;
}

/// Tells whether a principal was erased.
pub trait ErasureLookup: Send + Sync + 'static {
    /// Whether the log holds the erasure of this principal.
    fn is_erased(&self, principal: PrincipalId) -> BoxFuture<'_, Result<bool, Cause>>;
}

/// A lookup that knows no erasures.
#[derive(Debug, Clone, Copy)]
pub struct NoErasures;

impl ErasureLookup for NoErasures {
    fn is_erased(&self, _: PrincipalId) -> BoxFuture<'_, Result<bool, Cause>> {
        std::future::ready(Ok(false)).boxed()
    }
}

/// The bucket KEYS.
#[derive(Debug)]
pub struct BucketKeyStore(Store);

impl KeyStore for BucketKeyStore {
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Cause>> {
        async move { self.0.get(name).await.map_err(Into::into) }.boxed()
    }

    fn get_many(&self, limit: usize) -> BoxFuture<'_, Result<Vec<(String, Bytes)>, Cause>> {
        async move { timeout(BULK_READ_TIMEOUT, self.read_many(limit)).await? }.boxed()
    }

    fn get_or_create<'a>(&'a self, name: &'a str, value: Bytes) -> BoxFuture<'a, Result<Bytes, Cause>> {
        let backoff = ConstantBuilder::default().with_delay(CREATE_RETRY_INTERVAL).with_max_times(MAX_CREATE_RETRIES);
        // A create that failed may be stored all the same; `create_or_get` returns what is stored by then.
        let attempt = move || self.create_or_get(name, value.clone());
        async move { Ok(attempt.retry(backoff).when(|error| is_conflict_in_flight(error)).await?) }.boxed()
    }

    fn replace<'a>(&'a self, name: &'a str, old: &'a Bytes, new: Bytes) -> BoxFuture<'a, Result<bool, Cause>> {
        async move {
            let stored = self.0.entry(name).await?.filter(|entry| entry.operation == Operation::Put);
            let Some(stored) = stored.filter(|entry| entry.value == *old) else { return Ok(false) };
            match self.0.update(name, new, stored.revision).await {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
                Err(error) => Err(error.into()),
            }
        }
        .boxed()
    }

    fn destroy<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Cause>> {
        self.overwrite(name).boxed()
    }
}

impl BucketKeyStore {
    /// Takes the opened bucket. Its stream must not allow direct gets, which a lagging replica may answer.
    #[must_use]
    pub const fn new(bucket: Store) -> Self {
        Self(bucket)
    }

    async fn create_or_get(&self, name: &str, value: Bytes) -> Result<Bytes, CreateError> {
        let Err(error) = self.0.create(name, value.clone()).await else { return Ok(value) };
        self.0.get(name).await.ok().flatten().ok_or(error)
    }

    /// Reads through a consumer, many times faster than one get per key. The consumer may sit on a lagging replica that
    /// still holds destroyed keys, so the leader is asked afterwards which names exist.
    async fn read_many(&self, limit: usize) -> Result<Vec<(String, Bytes)>, Cause> {
        let (stream, prefix) = (&self.0.stream, self.0.prefix.as_str());
        let config = ephemeral_consumer(0, format!("{prefix}>"), BULK_READ_TIMEOUT);
        let consumer: PullConsumer = stream.create_consumer(config).await?;
        let count = usize::try_from(consumer.cached_info().num_pending)?.min(limit);
        let mut found = HashMap::with_capacity(count);
        let mut messages = consumer.fetch().max_messages(count).messages().await?;
        while let Some(message) = messages.try_next().await? {
            let is_tombstone = message.headers.as_ref().is_some_and(|headers| headers.get(TOMBSTONE_HEADER).is_some());
            if let Some(name) = message.subject.strip_prefix(prefix).filter(|_| !is_tombstone) {
                found.insert(name.to_owned(), message.payload.clone());
            }
        }
        let mut existing = stream.info_with_subjects(format!("{prefix}>")).await?;
        let mut entries = Vec::with_capacity(found.len());
        while let Some((subject, _)) = existing.try_next().await? {
            entries.extend(subject.strip_prefix(prefix).and_then(|name| found.remove_entry(name)));
        }
        Ok(entries)
    }

    /// Deletes every message on the key's subject by its sequence. Unlike a purge or the bucket's own delete, that
    /// makes the broker overwrite the bytes.
    async fn overwrite(&self, name: &str) -> Result<(), Cause> {
        let (stream, subject) = (&self.0.stream, format!("{}{name}", self.0.prefix));
        loop {
            let sequence = match stream.get_last_raw_message_by_subject(&subject).await {
                Ok(message) => message.sequence,
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            match stream.delete_message(sequence).await.map_err(|error| (error.kind(), error)) {
                Ok(_) => {}
                // Another replica has deleted it.
                Err((DeleteMessageErrorKind::JetStream(reply), _))
                    if matches!(reply.error_code(), ErrorCode::SEQUENCE_NOT_FOUND | ErrorCode::NO_MESSAGE_FOUND) => {}
                Err((_, error)) => return Err(error.into()),
            }
        }
    }
}
