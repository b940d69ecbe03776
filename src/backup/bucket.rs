//! The bucket KEYS, as a whole. In: the bucket. Out: all its wrapped keys, asked of its leader; and keys put into it,
//! never over another one.

use anyhow::{Context as _, bail};
use async_nats::jetstream::Context;
use async_nats::jetstream::kv::{CreateErrorKind, Store};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::keys::Keys;
use crate::broker::streams::KEYS_BUCKET;

/// Questions to the broker at once.
const CONCURRENT_REQUESTS: usize = 64;

/// The bucket.
pub struct KeysBucket {
    js: Context,
    store: Store,
}

impl KeysBucket {
    /// Opens it.
    ///
    /// # Errors
    /// If it is not there or the broker does not answer.
    pub async fn open(js: &Context) -> anyhow::Result<Self> {
        let store = js.get_key_value(KEYS_BUCKET).await.context("opening the bucket KEYS")?;
        Ok(Self { js: js.clone(), store })
    }

    /// All keys that it holds.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub async fn all(&self) -> anyhow::Result<Keys> {
        let prefix = format!("$KV.{KEYS_BUCKET}.");
        let stream = self.js.get_stream(&self.store.stream_name).await.context("opening the bucket KEYS")?;
        let subjects = stream.info_with_subjects(format!("{prefix}>")).await.context("listing the keys")?;
        let subjects: Vec<(String, usize)> = subjects.try_collect().await.context("listing the keys")?;
        let asked = subjects.into_iter().filter_map(|(subject, _)| {
            let name = subject.strip_prefix(&prefix)?.to_owned();
            Some(read(self.store.clone(), name))
        });
        let asked: Vec<_> = asked.collect();
        let keys = futures::stream::iter(asked).buffer_unordered(CONCURRENT_REQUESTS);
        let keys: Vec<_> = keys.try_collect().await.context("reading the keys")?;
        Ok(keys.into_iter().flatten().collect())
    }

    /// Puts keys into it, calling `watch` with how many are there.
    ///
    /// # Errors
    /// If another key has one of their names, or the broker does not answer.
    pub async fn create(&self, keys: &Keys, mut watch: impl FnMut(u64)) -> anyhow::Result<()> {
        let asked: Vec<_> =
            keys.iter().map(|(name, key)| create(self.store.clone(), name.clone(), key.clone())).collect();
        let mut created = futures::stream::iter(asked).buffer_unordered(CONCURRENT_REQUESTS);
        let mut done = 0;
        while created.try_next().await?.is_some() {
            done += 1;
            watch(done);
        }
        Ok(())
    }
}

async fn read(store: Store, name: String) -> anyhow::Result<Option<(String, Bytes)>> {
    // One that was destroyed may leave its name behind.
    Ok(store.get(name.as_str()).await?.map(|wrapped| (name, wrapped)))
}

async fn create(store: Store, name: String, key: Bytes) -> anyhow::Result<()> {
    match store.create(&name, key.clone()).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {
            if store.get(&name).await? != Some(key) {
                bail!("the bucket KEYS holds another key {name:?}; it is not overwritten");
            }
            Ok(())
        }
        Err(error) => Err(error).with_context(|| format!("storing key {name:?}")),
    }
}
