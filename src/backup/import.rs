//! An export back into an empty system.
//!
//! In: a directory that was checked, and a broker. Out: the same log at the same sequences, and its keys. Everything
//! that speaks against it is looked for before anything is stored: a log that is not the beginning of this one, keys
//! that are others, a server that runs. From then on EVENTS carries a mark, so that no server starts on half a log; it
//! goes when all is there. An interrupted import compares what is there and goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use async_nats::jetstream::Context;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::bucket::KeysBucket;
use super::keys::Keys;
use super::manifest::Manifest;
use super::{BackupError, check};
use crate::broker::streams::{self, EVENTS, IMPORT_MARKER, KEYS_BUCKET, LEADER_BUCKET, StreamOptions};
use crate::common::clock;
use crate::event_log::raw::{RawEvent, RawLog};
use crate::event_log::refill::Refill;
use crate::leader::election::Election;
use crate::sealing::{BucketKeyStore, KeyStore, Keyring, LogAge, MasterKey, MemoryKeyStore};

/// Events handed over at once, and how many such batches may wait.
const EVENTS_PER_BATCH: usize = 500;
const MAX_QUEUED_BATCHES: usize = 8;

/// Where the keys come from.
pub enum KeySource {
    /// From the export; checked with [`check_master_key`].
    Export(Keys),
    /// They are in the bucket already, and this master key must open them.
    Bucket(MasterKey),
}

/// What to do.
pub struct ImportOptions {
    /// Where from.
    pub directory: PathBuf,
    /// What is there; checked.
    pub manifest: Manifest,
    /// The keys.
    pub keys: KeySource,
    /// The streams to be made.
    pub streams: StreamOptions,
}

/// A part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Comparing what is there with the export.
    Compare,
    /// Storing keys.
    Keys,
    /// Storing events.
    Events,
}

/// Is told of progress: which part, how much is done, of how much.
pub type OnProgress<'a> = &'a mut (dyn FnMut(Phase, u64, u64) + Send);

/// Whether the master key is the one that wraps these keys.
///
/// # Errors
/// If it is not, or if the keys that every log has are missing.
pub async fn check_master_key(keys: &Keys, master: MasterKey) -> anyhow::Result<()> {
    let store = MemoryKeyStore::default();
    for (name, wrapped) in keys {
        store.get_or_create(name, wrapped.clone()).await.map_err(anyhow::Error::from_boxed)?;
    }
    Keyring::open(Arc::new(store), master, LogAge::InUse).await.context("the keys of the export")?;
    Ok(())
}

/// Imports; returns how many events were stored now.
///
/// # Errors
/// If the system is not empty, if a server runs, if broker or directory fail. Run again, it goes on.
pub async fn import(js: &Context, options: ImportOptions, on_progress: OnProgress<'_>) -> anyhow::Result<u64> {
    if let Some(log) = RawLog::open(js).await? {
        let (end, last) = (log.end().await?, options.manifest.last);
        ensure!(end <= last, "the broker's log has {end} events, the export {last}: this is no empty system");
    }
    streams::ensure(js, &options.streams).await?;
    let name = format!("import-{}", clock::fresh_uuid());
    let lease = js.get_key_value(LEADER_BUCKET).await.context("opening the bucket LEADER")?;
    Election::new(lease, name).run_holding_lease(fill(js, options, on_progress)).await?
}

async fn fill(js: &Context, options: ImportOptions, on_progress: OnProgress<'_>) -> anyhow::Result<u64> {
    let ImportOptions { directory, manifest, keys, .. } = options;
    let Some(log) = RawLog::open(js).await? else { bail!("the stream EVENTS has gone") };
    let there = log.end().await?;
    same_beginning(&log, there, &directory, &manifest, on_progress).await?;
    let bucket = KeysBucket::open(js).await?;
    let keys = match keys {
        KeySource::Export(keys) => {
            let there = bucket.all().await?;
            let other = there.iter().find(|(name, key)| keys.get(*name).is_some_and(|ours| ours != *key));
            if let Some((name, _)) = other {
                bail!(
                    "the bucket KEYS holds another key {name:?} than the export: a server was started on this broker, \
                     or it belongs to another log; import into a broker that is empty"
                );
            }
            keys
        }
        KeySource::Bucket(master) => {
            let store = js.get_key_value(KEYS_BUCKET).await.context("opening the bucket KEYS")?;
            let opened = Keyring::open(Arc::new(BucketKeyStore::new(store)), master, LogAge::InUse).await;
            opened.context("without the export's keys, the bucket KEYS must hold them already")?;
            Keys::new()
        }
    };

    set_import_marker(js, Some(manifest.chain.to_string())).await?;
    let total = keys.len() as u64;
    bucket.create(&keys, |done| on_progress(Phase::Keys, done, total)).await?;
    let mut refill = Refill::after(js, log.clone(), there).await?;
    let (mut events, reader) = read(&directory, &manifest, there);
    on_progress(Phase::Events, there, manifest.last);
    while let Some(batch) = events.recv().await {
        for raw in batch {
            refill.push(raw).await?;
        }
        on_progress(Phase::Events, refill.stored(), manifest.last);
    }
    reader.await.context("the reading task ended")??;
    refill.finish().await?;
    on_progress(Phase::Events, refill.stored(), manifest.last);
    let end = log.end().await?;
    ensure!(end == manifest.last, "the log ends at {end} instead of {}: somebody else appends", manifest.last);
    set_import_marker(js, None).await?;
    Ok(end - there)
}

/// What the log holds must be what the export begins with.
async fn same_beginning(
    log: &RawLog,
    end: u64,
    directory: &Path,
    manifest: &Manifest,
    on_progress: OnProgress<'_>,
) -> anyhow::Result<()> {
    if end == 0 {
        return Ok(());
    }
    let mut stored = log.read(0, end);
    let (mut events, _) = read(directory, manifest, 0);
    on_progress(Phase::Compare, 0, end);
    while let Some(batch) = events.recv().await {
        for raw in &batch {
            let Some(there) = stored.next().await? else { return Ok(()) };
            ensure!(
                there.same_event(raw),
                "event {} of the broker's log is not the export's: this is no empty system; nothing was stored",
                raw.sequence
            );
        }
        on_progress(Phase::Compare, batch.last().map_or(0, |raw| raw.sequence.min(end)), end);
    }
    Ok(())
}

/// Reads the events after a sequence, on a thread that may block.
fn read(
    directory: &Path,
    manifest: &Manifest,
    after: u64,
) -> (mpsc::Receiver<Vec<RawEvent>>, JoinHandle<Result<(), BackupError>>) {
    let (sender, receiver) = mpsc::channel(MAX_QUEUED_BATCHES);
    let (directory, manifest) = (directory.to_owned(), manifest.clone());
    let reader = tokio::task::spawn_blocking(move || {
        let mut batch = Vec::with_capacity(EVENTS_PER_BATCH);
        check::events(&directory, &manifest, after, |raw| {
            batch.push(raw);
            batch.len() < EVENTS_PER_BATCH || sender.blocking_send(std::mem::take(&mut batch)).is_ok()
        })?;
        // Nobody may want the rest.
        let _ = sender.blocking_send(batch);
        Ok(())
    });
    (receiver, reader)
}

/// Marks EVENTS as being filled, or takes the mark away.
async fn set_import_marker(js: &Context, marker: Option<String>) -> anyhow::Result<()> {
    let stream = js.get_stream(EVENTS).await.context("opening the stream EVENTS")?;
    let mut config = stream.cached_info().config.clone();
    let before = config.metadata.clone();
    match marker {
        Some(value) => drop(config.metadata.insert(IMPORT_MARKER.to_owned(), value)),
        None => drop(config.metadata.remove(IMPORT_MARKER)),
    }
    if config.metadata != before {
        js.update_stream(&config).await.context("marking the stream EVENTS")?;
    }
    Ok(())
}
