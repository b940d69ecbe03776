//! The manifest of an export: its files with their hashes, and the chain.
//!
//! `manifest.json` exists only after a run has finished, and names complete files only, because it is written last.
//! During a run, `unfinished.json` records the progress in the same format; an interrupted run resumes from it, and the
//! previous export stays valid until the run has finished.

use std::fs;
use std::io::Write;
use std::path::Path;

use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use super::BackupError;
use super::files::PendingFile;
use super::line::{FORMAT, Hash};

/// The manifest of a finished export.
pub const MANIFEST_FILE: &str = "manifest.json";
/// The progress of a run.
pub const UNFINISHED_MANIFEST_FILE: &str = "unfinished.json";

/// The content of an export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// The version of DockHost that wrote it.
    pub dockhost: String,
    /// The incarnation of the log.
    pub incarnation: Incarnation,
    /// When it was last written.
    pub written_at: Timestamp,
    /// The sequence of the first event: always 1, because a log never loses its first events.
    pub first: u64,
    /// The sequence of the last event, and so the number of events.
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
    /// The file name.
    pub name: String,
    /// The compressed size.
    pub bytes: u64,
    /// The SHA-256 of the compressed file.
    pub sha256: Hash,
    /// The sequence of the first event.
    pub first: u64,
    /// The sequence of the last event.
    pub last: u64,
    /// The chain value of the last line.
    pub chain: Hash,
}

/// The file of wrapped keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeysFile {
    /// The file name.
    pub name: String,
    /// The compressed size.
    pub bytes: u64,
    /// The SHA-256 of the compressed file.
    pub sha256: Hash,
    /// The number of keys.
    pub keys: u64,
}

impl Manifest {
    /// The manifest of an empty export.
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

    /// Reads and validates a manifest; `None` if there is no such file.
    ///
    /// # Errors
    /// [`BackupError`]; also if the segments are not consecutive.
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

    /// Writes the manifest.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn write(&self, directory: &Path, name: &str) -> Result<(), BackupError> {
        let mut file = PendingFile::create(directory, name)?;
        let text = serde_json::to_vec_pretty(self);
        let mut text = text.map_err(|error| BackupError::damaged(name, error.to_string()))?;
        text.push(b'\n');
        file.write_all(&text).map_err(BackupError::io(&directory.join(name), "written"))?;
        file.publish(directory, name)?;
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
                return Err(format!("{} does not follow the previous segment", segment.name));
            }
            if segment.name.contains('/') {
                return Err(format!("{:?} is not the name of a file in this directory", segment.name));
            }
            next = segment.last + 1;
        }
        if self.keys.as_ref().is_some_and(|keys| keys.name.contains('/')) {
            return Err("the keys' file is not in this directory".to_owned());
        }
        if self.first != 1 || next != self.last + 1 || self.chain != self.chain_before(self.segments.len()) {
            return Err("the segments do not hold the events that the manifest lists".to_owned());
        }
        Ok(())
    }
}
