//! Checks a directory against its manifest. Needs no server, no master key and little memory.

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
        return Err(BackupError::damaged(
            place,
            "the export is not finished; run `dockhost export` again to resume it",
        ));
    }
    Err(BackupError::damaged(place, format!("not an export: there is no {MANIFEST_FILE}")))
}

/// Reads and checks every event after a sequence, and passes it to `each`, which returns `false` to stop.
///
/// # Errors
/// [`BackupError::Damaged`] with the first wrong place; no event from there on was passed.
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

/// Checks all events, and the keys if `with_keys`. `on_event` gets the sequence of each event and returns `false` to
/// stop.
///
/// # Errors
/// [`BackupError::Damaged`] with the first wrong place.
pub fn all(
    directory: &Path,
    manifest: &Manifest,
    with_keys: bool,
    mut on_event: impl FnMut(u64) -> bool,
) -> Result<(), BackupError> {
    if let Some(file) = manifest.keys.as_ref().filter(|_| with_keys) {
        keys::read(directory, file)?;
    }
    events(directory, manifest, 0, |raw| on_event(raw.sequence))
}
