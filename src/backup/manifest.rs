//! What an export holds. In: a directory. Out: the list of its files with their hashes and the chain.
//!
//! `manifest.json` is there exactly if the export was finished, and always names files that are whole: it is put in
//! its place last. While a run goes on, `unfinished.json` says how far it is, in the same form; the next run goes on
//! from there, and until it ends the export of the time before stays as good as it was.

use std::fs;
use std::io::Write;
use std::path::Path;

use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use super::BackupError;
use super::files::PendingFile;
use super::line::{FORMAT, Hash};

/// A finished export's manifest.
pub const MANIFEST_FILE: &str = "manifest.json";
/// How far a run is.
pub const UNFINISHED_MANIFEST_FILE: &str = "unfinished.json";

/// What an export holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// The version of DockHost that wrote it.
    pub dockhost: String,
    /// Which log it is of.
    pub incarnation: Incarnation,
    /// When it was written last.
    pub written_at: Timestamp,
    /// The sequence of the first event: 1, for a log never loses its beginning.
    pub first: u64,
    /// The sequence of the last event, which is also their number; 0 if there is none.
    pub last: u64,
    /// The chain value of the last line.
    pub chain: Hash,
    /// The files of events, in order.
    pub segments: Vec<Segment>,
    /// The file of wrapped keys, if keys were exported.
    pub keys: Option<KeysFile>,
}

/// A file of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Segment {
    /// Its name in the directory.
    pub name: String,
    /// Its size, compressed.
    pub bytes: u64,
    /// The SHA-256 of the compressed file.
    pub sha256: Hash,
    /// The sequence of its first event.
    pub first: u64,
    /// The sequence of its last event.
    pub last: u64,
    /// The chain value of its last line.
    pub chain: Hash,
}

/// The file of wrapped keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeysFile {
    /// Its name in the directory.
    pub name: String,
    /// Its size, compressed.
    pub bytes: u64,
    /// The SHA-256 of the compressed file.
    pub sha256: Hash,
    /// How many keys it holds.
    pub keys: u64,
}

impl Manifest {
    /// Of an export that holds nothing yet.
    #[must_use]
    pub fn empty(incarnation: Incarnation, written_at: Timestamp) -> Self {
        Self {
            format: FORMAT.to_owned(),
            dockhost: env!("CARGO_PKG_VERSION").to_owned(),
            chain: Hash::genesis(&incarnation),
            incarnation,
            written_at,
            first: 1,
            last: 0,
            segments: Vec::new(),
            keys: None,
        }
    }

    /// Reads one; none if there is no such file.
    ///
    /// # Errors
    /// [`BackupError`]; also if its segments don't follow each other.
    pub fn read(directory: &Path, name: &str) -> Result<Option<Self>, BackupError> {
        let path = directory.join(name);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(BackupError::io(&path, "read"))?,
        };
        let wrong = |why: String| BackupError::damaged(name, why);
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if value["format"] != FORMAT {
            return Err(wrong(format!("the format is {}, not {FORMAT:?}", value["format"])));
        }
        let manifest: Self = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        manifest.validate().map_err(wrong)?;
        Ok(Some(manifest))
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn write(&self, directory: &Path, name: &str) -> Result<(), BackupError> {
        let mut pending = PendingFile::create(directory, name)?;
        let text = serde_json::to_vec_pretty(self);
        let mut text = text.map_err(|error| BackupError::damaged(name, error.to_string()))?;
        text.push(b'\n');
        pending.write_all(&text).map_err(BackupError::io(&directory.join(name), "written"))?;
        pending.publish(directory, name)?;
        Ok(())
    }

    /// The chain value before a segment.
    #[must_use]
    pub fn chain_before(&self, index: usize) -> Hash {
        let before = index.checked_sub(1).and_then(|before| self.segments.get(before));
        before.map_or_else(|| Hash::genesis(&self.incarnation), |segment| segment.chain)
    }

    fn validate(&self) -> Result<(), String> {
        let mut next = self.first;
        for segment in &self.segments {
            if segment.first != next || segment.last < segment.first {
                return Err(format!("{} does not follow the segment before", segment.name));
            }
            if segment.name.contains('/') {
                return Err(format!("{:?} is not a name in this directory", segment.name));
            }
            next = segment.last + 1;
        }
        if self.keys.as_ref().is_some_and(|keys| keys.name.contains('/')) {
            return Err("the keys are not in this directory".to_owned());
        }
        if self.first != 1 || next != self.last + 1 || self.chain != self.chain_before(self.segments.len()) {
            return Err("the segments are not those of the events that it promises".to_owned());
        }
        Ok(())
    }
}
