//! Export: copies the log into a directory while DockHost runs.
//!
//! An export ends with the last event at its start. Later runs, and runs after an interruption, add what is new. One
//! task reads events, another writes them, with a bounded queue between them, so memory use is constant.
//!
//! The keys are read before and after the end of the log is determined: a key that is created for an event meanwhile is
//! in the second read, and a key that an event beyond the end destroys is in the first.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use async_nats::jetstream::Context;
use tokio::sync::mpsc;

use super::bucket::KeysBucket;
use super::keys::{self, Keys};
use super::manifest::{MANIFEST_FILE, Manifest, UNFINISHED_MANIFEST_FILE};
use super::segment::{SegmentReader, SegmentWriter};
use super::{BackupError, files};
use crate::common::clock;
use crate::event_log::raw::{RawEvent, RawLog};

const EVENTS_PER_BATCH: usize = 500;
/// Batches between the task that reads events and the one that writes files.
const MAX_QUEUED_BATCHES: usize = 8;

/// What to export.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// The target directory.
    pub directory: PathBuf,
    /// The most events per file.
    pub per_segment: u64,
    /// Whether to copy the wrapped keys too.
    pub with_keys: bool,
}

/// Called with the number of copied events and the total.
pub type OnProgress = Box<dyn FnMut(u64, u64) + Send>;

/// Copies the log; returns the manifest and the number of new events.
///
/// # Errors
/// If the directory holds other files or another log's events or is in use, or the broker or the disk fails. A finished
/// export stays valid, and the next run resumes.
pub async fn export(js: &Context, options: ExportOptions, on_progress: OnProgress) -> anyhow::Result<(Manifest, u64)> {
    let lock = prepare(&options.directory)?;
    let Some(log) = RawLog::open(js).await? else { bail!("the broker has no log: there is no stream EVENTS") };
    let bucket = KeysBucket::open(js).await?;
    let mut keys = if options.with_keys { bucket.all().await? } else { Keys::new() };
    let end = log.end().await?;
    if options.with_keys {
        keys.extend(bucket.all().await?);
    }
    let mut manifest = load_manifest(&options.directory, &log)?;
    if manifest.last > end {
        bail!("the export has event {}, but the log ends at {end}: it was restored from an older copy", manifest.last);
    }
    if let Some(last) = last_event(&options.directory, &manifest)?
        && log.at(last.sequence).await?.as_ref() != Some(&last)
    {
        bail!("event {} of the export is not the log's: this is an export of another log", last.sequence);
    }
    let from = manifest.last;
    manifest = copy(&log, end, &options, manifest, (on_progress, Arc::clone(&lock))).await?;
    manifest.written_at = clock::now();
    env!("CARGO_PKG_VERSION").clone_into(&mut manifest.dockhost);
    finish(&options, &mut manifest, &keys)?;
    Ok((manifest, end - from))
}

/// Creates the directory, or checks that it holds an export. No other export can write to it while the lock is held.
fn prepare(directory: &Path) -> anyhow::Result<Arc<File>> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(BackupError::io(directory, "created"))?;
    let lock = File::open(directory).map_err(BackupError::io(directory, "read"))?;
    if lock.try_lock().is_err() {
        bail!("another export is writing to {}", directory.display());
    }
    let names = files::names(directory)?;
    let is_manifest = |name: &String| name == MANIFEST_FILE || name == UNFINISHED_MANIFEST_FILE;
    if !names.iter().any(is_manifest) && !names.iter().all(|name| files::is_pending(name)) {
        bail!("{} is neither empty nor an export; nothing was written", directory.display());
    }
    files::remove_leftovers(directory, |_| false)?;
    Ok(Arc::new(lock))
}

/// The manifest of the finished export, or of an interrupted run that copied more events.
fn load_manifest(directory: &Path, log: &RawLog) -> anyhow::Result<Manifest> {
    let finished = Manifest::read(directory, MANIFEST_FILE)?;
    let unfinished = Manifest::read(directory, UNFINISHED_MANIFEST_FILE)?;
    let furthest = [unfinished, finished].into_iter().flatten().max_by_key(|manifest| manifest.last);
    let incarnation = log.incarnation().clone();
    let manifest = furthest.unwrap_or_else(|| Manifest::empty(incarnation.clone(), clock::now()));
    if manifest.incarnation != incarnation {
        bail!(
            "{} is an export of the log {}, but this log is {incarnation}: a restored or newly created log is another \
             log; export it into another directory",
            directory.display(),
            manifest.incarnation
        );
    }
    Ok(manifest)
}

/// The last event of the last file, which is checked completely.
fn last_event(directory: &Path, manifest: &Manifest) -> Result<Option<RawEvent>, BackupError> {
    let Some((index, segment)) = manifest.segments.iter().enumerate().next_back() else { return Ok(None) };
    let mut reader = SegmentReader::open(directory, segment, manifest.chain_before(index))?;
    let mut last = None;
    while let Some(raw) = reader.next_event()? {
        last = Some(raw);
    }
    Ok(last)
}

async fn copy(
    log: &RawLog,
    end: u64,
    options: &ExportOptions,
    manifest: Manifest,
    (on_progress, lock): (OnProgress, Arc<File>),
) -> anyhow::Result<Manifest> {
    let (sender, receiver) = mpsc::channel::<Vec<RawEvent>>(MAX_QUEUED_BATCHES);
    let mut reader = log.read(manifest.last, end);
    let options = options.clone();
    let writer = tokio::task::spawn_blocking(move || {
        // After an interruption the writer still writes what is queued; until then it holds the lock.
        let _lock = lock;
        write(receiver, end, &options, manifest, on_progress)
    });
    let mut failed = None;
    loop {
        let mut batch = Vec::with_capacity(EVENTS_PER_BATCH);
        while batch.len() < EVENTS_PER_BATCH {
            match reader.next().await {
                Ok(Some(raw)) => batch.push(raw),
                Ok(None) => break,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        // If the writer has ended, its result below has the reason.
        if batch.is_empty() || sender.send(batch).await.is_err() || failed.is_some() {
            break;
        }
    }
    drop(sender);
    let manifest = writer.await.context("the writing task ended")??;
    match failed {
        Some(error) => Err(error).context("reading the log"),
        None if manifest.last == end => Ok(manifest),
        None => bail!("the log could not be read to its end"),
    }
}

/// Writes until the channel closes. The last file is kept only if it is full or has the last event.
fn write(
    mut receiver: mpsc::Receiver<Vec<RawEvent>>,
    end: u64,
    options: &ExportOptions,
    mut manifest: Manifest,
    mut on_progress: OnProgress,
) -> Result<Manifest, BackupError> {
    let mut open: Option<SegmentWriter> = None;
    on_progress(manifest.last, end);
    while let Some(batch) = receiver.blocking_recv() {
        for raw in batch {
            let sequence = raw.sequence;
            let mut writer = match open.take() {
                Some(writer) => writer,
                None => SegmentWriter::create(&options.directory, sequence, manifest.chain)?,
            };
            writer.push(&raw)?;
            if writer.len() < options.per_segment && sequence < end {
                open = Some(writer);
                continue;
            }
            let segment = writer.finish()?;
            manifest.last = segment.last;
            manifest.chain = segment.chain;
            manifest.segments.push(segment);
            manifest.write(&options.directory, UNFINISHED_MANIFEST_FILE)?;
            on_progress(sequence, end);
        }
        on_progress(open.as_ref().map_or(manifest.last, |writer| manifest.last + writer.len()), end);
    }
    Ok(manifest)
}

/// Writes the keys and the manifest, then removes the files that they replace.
fn finish(options: &ExportOptions, manifest: &mut Manifest, keys: &Keys) -> Result<(), BackupError> {
    manifest.keys = if options.with_keys { Some(keys::write(&options.directory, keys)?) } else { None };
    manifest.write(&options.directory, MANIFEST_FILE)?;
    let current = manifest.keys.as_ref().map(|file| file.name.clone());
    files::remove_leftovers(&options.directory, |name| {
        name == UNFINISHED_MANIFEST_FILE || (keys::is_keys(name) && Some(name) != current.as_deref())
    })
}
