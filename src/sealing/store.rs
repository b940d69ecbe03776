//! Where wrapped keys are kept. In: a name and wrapped bytes. Out: what is stored under the name. A port, so that
//! tests need no broker; the real one is the bucket KEYS, read from its stream's leader, because a lagging replica
//! that doesn't know a fresh key yet must not look like a lost key. Beside it the other port: who was erased, which only
//! the log can say.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::kv::{CreateErrorKind, Store};
use async_nats::jetstream::stream::{DeleteMessageErrorKind, LastRawMessageErrorKind};
use bytes::Bytes;
use dockhost_domain::ids::PrincipalId;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use tokio::time::{sleep, timeout};

use crate::broker::consumer::pull::ephemeral_consumer;
use crate::broker::is_conflict_in_flight;
use crate::common::error::Cause;

/// How often a key that another replica is making is looked for, and the pause between: longer than a replicated
/// stream takes to store it.
const MAX_CREATE_POLLS: usize = 50;
const CREATE_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Reading many keys takes no longer, or is given up.
const BULK_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The header of what a bucket leaves where something was deleted.
const TOMBSTONE_HEADER: &str = "KV-Operation";

/// A store of wrapped keys.
pub trait KeyStore: Send + Sync + 'static {
    /// What is stored under this name.
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Cause>>;

    /// Many of those that are stored, with their names, for whoever needs most of them: at most so many. Each was still
    /// there after it was read.
    fn get_many(&self, limit: usize) -> BoxFuture<'_, Result<Vec<(String, Bytes)>, Cause>>;

    /// Stores `value` unless something is stored under this name; returns what is stored afterwards, so that two
    /// replicas that make the same key agree on one.
    fn get_or_create<'a>(&'a self, name: &'a str, value: Bytes) -> BoxFuture<'a, Result<Bytes, Cause>>;

    /// Removes what is stored under this name so that its bytes are overwritten. Fine if nothing is.
    fn destroy<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Cause>>;
}

/// Who was erased.
pub trait ErasureLookup: Send + Sync + 'static {
    /// Whether the log says so of this principal.
    fn is_erased(&self, principal: PrincipalId) -> BoxFuture<'_, Result<bool, Cause>>;
}

/// A log in which nobody was ever erased.
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

impl BucketKeyStore {
    /// Takes the opened bucket, whose stream must not allow direct gets (they may come from a lagging replica).
    #[must_use]
    pub const fn new(bucket: Store) -> Self {
        Self(bucket)
    }
}

impl KeyStore for BucketKeyStore {
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Cause>> {
        async move { self.0.get(name).await.map_err(Into::into) }.boxed()
    }

    fn get_many(&self, limit: usize) -> BoxFuture<'_, Result<Vec<(String, Bytes)>, Cause>> {
        async move { timeout(BULK_READ_TIMEOUT, self.read_many(limit)).await? }.boxed()
    }

    fn get_or_create<'a>(&'a self, name: &'a str, value: Bytes) -> BoxFuture<'a, Result<Bytes, Cause>> {
        async move {
            let mut polls_left = MAX_CREATE_POLLS;
            loop {
                let error = match self.0.create(name, value.clone()).await {
                    Ok(_) => return Ok(value),
                    Err(error) => error,
                };
                // The outcome may be unknown; what counts is what is stored.
                match self.0.get(name).await {
                    Ok(Some(stored)) => return Ok(stored),
                    Ok(None) if error.kind() == CreateErrorKind::AlreadyExists => {
                        return Err("the key vanished while it was being made".into());
                    }
                    // Another replica is making it: its key is stored in a moment, or ours may be.
                    Ok(None) if polls_left > 0 && is_conflict_in_flight(&error) => {
                        polls_left -= 1;
                        sleep(CREATE_POLL_INTERVAL).await;
                    }
                    Ok(None) | Err(_) => return Err(error.into()),
                }
            }
        }
        .boxed()
    }

    fn destroy<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Cause>> {
        self.overwrite(name).boxed()
    }
}

impl BucketKeyStore {
    /// A consumer hands out what asking for each would cost many times as much. It may sit on a replica that lags and
    /// still holds what was destroyed, so the leader is asked afterwards which names there are.
    async fn read_many(&self, limit: usize) -> Result<Vec<(String, Bytes)>, Cause> {
        let (stream, prefix) = (&self.0.stream, self.0.prefix.as_str());
        let consumer: PullConsumer =
            stream.create_consumer(ephemeral_consumer(0, format!("{prefix}>"), BULK_READ_TIMEOUT)).await?;
        let count = usize::try_from(consumer.cached_info().num_pending)?.min(limit);
        let mut found = HashMap::with_capacity(count);
        let mut messages = consumer.fetch().max_messages(count).messages().await?;
        while let Some(message) = messages.try_next().await? {
            // What the bucket itself leaves where something was deleted is no key.
            let is_tombstone = message.headers.as_ref().is_some_and(|headers| headers.get(TOMBSTONE_HEADER).is_some());
            if let Some(name) = message.subject.strip_prefix(prefix).filter(|_| !is_tombstone) {
                found.insert(name.to_owned(), message.payload.clone());
            }
        }
        let mut there = stream.info_with_subjects(format!("{prefix}>")).await?;
        let mut entries = Vec::with_capacity(found.len());
        while let Some((subject, _)) = there.try_next().await? {
            entries.extend(subject.strip_prefix(prefix).and_then(|name| found.remove_entry(name)));
        }
        Ok(entries)
    }

    /// Deletes every message on the key's subject by its sequence: unlike a purge, or the bucket's own way of deleting,
    /// that makes the broker overwrite it.
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
                // Another was faster.
                Err((DeleteMessageErrorKind::JetStream(reply), _))
                    if matches!(reply.error_code(), ErrorCode::SEQUENCE_NOT_FOUND | ErrorCode::NO_MESSAGE_FOUND) => {}
                Err((_, error)) => return Err(error.into()),
            }
        }
    }
}

/// Keys in memory, for tests.
#[derive(Debug, Default)]
pub struct MemoryKeyStore(Mutex<HashMap<String, Bytes>>);

impl MemoryKeyStore {
    /// Loses a key, as a store restored from an old backup would.
    pub fn lose(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

impl KeyStore for MemoryKeyStore {
    fn get_many(&self, limit: usize) -> BoxFuture<'_, Result<Vec<(String, Bytes)>, Cause>> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = keys.iter().take(limit).map(|(name, key)| (name.clone(), key.clone())).collect();
        std::future::ready(Ok(entries)).boxed()
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Cause>> {
        let stored = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        async move { Ok(stored) }.boxed()
    }

    fn get_or_create<'a>(&'a self, name: &'a str, value: Bytes) -> BoxFuture<'a, Result<Bytes, Cause>> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = keys.entry(name.to_owned()).or_insert(value).clone();
        async move { Ok(stored) }.boxed()
    }

    fn destroy<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Cause>> {
        self.lose(name);
        std::future::ready(Ok(())).boxed()
    }
}

/// Erased people in memory, for tests.
#[derive(Debug, Default)]
pub struct MemoryErasures(Mutex<HashSet<PrincipalId>>);

impl MemoryErasures {
    /// From now on this principal was erased.
    pub fn erase(&self, principal: PrincipalId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(principal);
    }
}

impl ErasureLookup for MemoryErasures {
    fn is_erased(&self, principal: PrincipalId) -> BoxFuture<'_, Result<bool, Cause>> {
        let erased = self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&principal);
        std::future::ready(Ok(erased)).boxed()
    }
}
