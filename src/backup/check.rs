//! Whether a directory is the export that its manifest says. In: the directory. Out: nothing, or the first place that
//! is wrong. Needs no server, no key and little memory.

use std::path::Path;

use super::manifest::{MANIFEST_FILE, Manifest, UNFINISHED_MANIFEST_FILE};
use super::segment::SegmentReader;
use super::{BackupError, keys};
use crate::event_log::raw::RawEvent;

/// The manifest of a finished export.
///
/// # Errors
/// [`BackupError`]; also if there is none.
pub fn finished(directory: &Path) -> Result<Manifest, BackupError> {
    if let Some(manifest) = Manifest::read(directory, MANIFEST_FILE)? {
        return Ok(manifest);
    }
    let place = directory.display().to_string();
    if directory.join(UNFINISHED_MANIFEST_FILE).exists() {
        return Err(BackupError::damaged(place, "the export is not finished; `dockhost export` goes on with it"));
    }
    Err(BackupError::damaged(place, format!("is no export: there is no {MANIFEST_FILE}")))
}

/// Reads every event after a sequence, each checked, and hands it to `each`, which may end it by answering `false`.
///
/// # Errors
/// [`BackupError::Damaged`] with the first place that is wrong; nothing from there on was handed out.
pub fn events(
    directory: &Path,
    manifest: &Manifest,
    after: u64,
    mut each: impl FnMut(RawEvent) -> bool,
) -> Result<(), BackupError> {
    for (index, segment) in manifest.segments.iter().enumerate().filter(|(_, segment)| segment.last > after) {
        let mut reader = SegmentReader::open(directory, segment, manifest.chain_before(index))?;
        while let Some(raw) = reader.next_event()? {
            if raw.sequence > after && !each(raw) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Checks all of it, the keys too unless they are left out on purpose. `watch` is told of each event and may end it by
/// answering `false`.
///
/// # Errors
/// [`BackupError::Damaged`] with the first place that is wrong.
pub fn all(
    directory: &Path,
    manifest: &Manifest,
    with_keys: bool,
    mut watch: impl FnMut(u64) -> bool,
) -> Result<(), BackupError> {
    if let Some(file) = manifest.keys.as_ref().filter(|_| with_keys) {
        keys::read(directory, file)?;
    }
    events(directory, manifest, 0, |raw| watch(raw.sequence))
}
