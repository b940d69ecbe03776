//! The bucket KEYS as a whole: reads all wrapped keys from its leader, and creates keys without overwriting any.

use anyhow::{Context as _, bail};
use async_nats::jetstream::Context;
use async_nats::jetstream::kv::{CreateErrorKind, Store};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::keys::Keys;
use crate::broker::streams::KEYS_BUCKET;

const CONCURRENT_REQUESTS: usize = 64;

/// The bucket KEYS.
pub struct KeysBucket {
    js: Context,
    store: Store,
}

impl KeysBucket {
    /// Opens the bucket.
    ///
    /// # Errors
    /// If it does not exist or the broker does not answer.
    pub async fn open(js: &Context) -> anyhow::Result<Self> {
        let store = js.get_key_value(KEYS_BUCKET).await.context("opening the bucket KEYS")?;
        Ok(Self { js: js.clone(), store })
    }

    /// All keys in the bucket.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub async fn all(&self) -> anyhow::Result<Keys> {
        let prefix = format!("$KV.{KEYS_BUCKET}.");
        let stream = self.js.get_stream(&self.store.stream_name).await.context("opening the bucket KEYS")?;
        let subjects = stream.info_with_subjects(format!("{prefix}>")).await.context("listing the keys")?;
        let subjects: Vec<(String, usize)> = subjects.try_collect().await.context("listing the keys")?;
        let reads = subjects.into_iter().filter_map(|(subject, _)| {
            let name = subject.strip_prefix(&prefix)?.to_owned();
            Some(read(self.store.clone(), name))
        });
        let reads: Vec<_> = reads.collect();
        let keys = futures::stream::iter(reads).buffer_unordered(CONCURRENT_REQUESTS);
        let keys: Vec<_> = keys.try_collect().await.context("reading the keys")?;
        Ok(keys.into_iter().flatten().collect())
    }

    /// Creates keys, calling `on_progress` with the number created so far.
    ///
    /// # Errors
    /// If another key has one of the names, or the broker does not answer.
    pub async fn create(&self, keys: &Keys, mut on_progress: impl FnMut(u64)) -> anyhow::Result<()> {
        let writes: Vec<_> =
            keys.iter().map(|(name, key)| create(self.store.clone(), name.clone(), key.clone())).collect();
        let mut created = futures::stream::iter(writes).buffer_unordered(CONCURRENT_REQUESTS);
        let mut count = 0;
        while created.try_next().await?.is_some() {
            count += 1;
            on_progress(count);
        }
        Ok(())
    }
}

async fn read(store: Store, name: String) -> anyhow::Result<Option<(String, Bytes)>> {
    // A destroyed key may leave its name behind.
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
