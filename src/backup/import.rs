//! Import: an export is stored into an empty system, each event at its old sequence, together with the keys.
//!
//! Everything that rules the import out is checked before anything is stored: a log that is not a prefix of the export,
//! other keys, a running server. From then until the import is complete, EVENTS carries a marker, and no server starts
//! on it. An interrupted import compares what is stored and resumes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use async_nats::jetstream::Context;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::bucket::KeysBucket;
use super::keys::Keys;
use super::manifest::Manifest;
use super::{BackupError, check};
use crate::broker::streams::{self, EVENTS, IMPORT_MARKER, KEYS_BUCKET, LEADER_BUCKET, StreamOptions};
use crate::common::clock;
use crate::common::error::chain;
use crate::common::retry::{STARTUP_DEADLINE, until_deadline};
use crate::event_log::LogError;
use crate::event_log::raw::{RawEvent, RawLog};
use crate::event_log::refill::Refill;
use crate::leader::election::Election;
use crate::sealing::{self, BucketKeyStore, Keyring, LogAge, MasterKey};

const EVENTS_PER_BATCH: usize = 500;
/// Batches between the task that reads files and the one that publishes.
const MAX_QUEUED_BATCHES: usize = 8;

/// Where the keys come from.
pub enum KeySource {
    /// The export; checked with [`check_master_key`].
    Export(Keys),
    /// The bucket holds them already, and this master key must open them.
    Bucket(MasterKey),
}

/// What to import.
pub struct ImportOptions {
    /// The directory of the export.
    pub directory: PathBuf,
    /// The manifest of the export, whose files were checked.
    pub manifest: Manifest,
    /// The keys.
    pub keys: KeySource,
    /// The settings of the streams to create.
    pub streams: StreamOptions,
}

/// A phase of the import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Comparing the stored events with the export.
    Compare,
    /// Storing keys.
    Keys,
    /// Storing events.
    Events,
}

/// Called with the phase, how much of it is done, and the total.
pub type OnProgress<'a> = &'a mut (dyn FnMut(Phase, u64, u64) + Send);

/// Checks that the master key wraps these keys.
///
/// # Errors
/// If it does not, or if the keys that every log has are missing.
pub fn check_master_key(keys: &Keys, master: &MasterKey) -> anyhow::Result<()> {
    sealing::check_master_key(master, |name| keys.get(name).cloned()).context("the keys of the export")
}

/// Imports; returns how many events this run stored.
///
/// # Errors
/// If the system is not empty, a server runs, or the broker or the directory fails. Another run resumes the import.
pub async fn import(js: &Context, options: ImportOptions, on_progress: OnProgress<'_>) -> anyhow::Result<u64> {
    // A cluster that was just started has no leader for some seconds.
    let deadline = Instant::now() + STARTUP_DEADLINE;
    let transient_cause = |error: &LogError| matches!(error, LogError::Unavailable(_)).then(|| chain(error));
    let existing = until_deadline("the broker's streams", deadline, transient_cause, || RawLog::open(js)).await?;
    if let Some(log) = existing {
        let (end, last) = (log.end().await?, options.manifest.last);
        ensure!(end <= last, "the broker's log has {end} events, the export {last}: the system is not empty");
    }
    streams::create_missing(js, &options.streams).await?;
    let name = format!("import-{}", clock::fresh_uuid());
    let lease = js.get_key_value(LEADER_BUCKET).await.context("opening the bucket LEADER")?;
    Election::new(js.clone(), lease, name).run_holding_lease(fill(js, options, on_progress)).await?
}

async fn fill(js: &Context, options: ImportOptions, on_progress: OnProgress<'_>) -> anyhow::Result<u64> {
    let ImportOptions { directory, manifest, keys, .. } = options;
    let Some(log) = RawLog::open(js).await? else { bail!("the stream EVENTS was removed") };
    let stored = log.end().await?;
    compare(&log, stored, &directory, &manifest, on_progress).await?;
    let bucket = KeysBucket::open(js).await?;
    let keys = match keys {
        KeySource::Export(keys) => {
            let existing = bucket.all().await?;
            let differing = existing.iter().find(|(name, key)| keys.get(*name).is_some_and(|ours| ours != *key));
            if let Some((name, _)) = differing {
                bail!(
                    "the bucket KEYS holds another key {name:?} than the export: a server was started on this broker, \
                     or it belongs to another log; import into an empty broker"
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
    let mut refill = Refill::after(js, log.clone(), stored).await?;
    let (mut events, reader) = read(&directory, &manifest, stored);
    on_progress(Phase::Events, stored, manifest.last);
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
    ensure!(end == manifest.last, "the log ends at {end} instead of {}: another client appends", manifest.last);
    set_import_marker(js, None).await?;
    Ok(end - stored)
}

/// Checks that the log, up to `end`, is a prefix of the export.
async fn compare(
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
            let Some(stored) = stored.next().await? else { return Ok(()) };
            ensure!(
                stored.same_event(raw),
                "event {} of the broker's log is not the export's: the system is not empty; nothing was stored",
                raw.sequence
            );
        }
        on_progress(Phase::Compare, batch.last().map_or(0, |raw| raw.sequence.min(end)), end);
    }
    Ok(())
}

/// Reads the events after a sequence, on a blocking thread.
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
        // Fails if the receiver needs no more.
        let _ = sender.blocking_send(batch);
        Ok(())
    });
    (receiver, reader)
}

/// Sets or removes the marker of an unfinished import on EVENTS.
async fn set_import_marker(js: &Context, marker: Option<String>) -> anyhow::Result<()> {
    let stream = js.get_stream(EVENTS).await.context("opening the stream EVENTS")?;
    let mut config = stream.cached_info().config.clone();
    let before = config.metadata.clone();
    match marker {
        Some(value) => drop(config.metadata.insert(IMPORT_MARKER.to_owned(), value)),
        None => drop(config.metadata.remove(IMPORT_MARKER)),
    }
    if config.metadata != before {
        js.update_stream(&config).await.context("updating the metadata of the stream EVENTS")?;
    }
    Ok(())
}
