//! The file of wrapped keys: compressed lines with names and keys of the bucket KEYS.
//!
//! Keys are not in the files of events because of erasure: an event is harmless once its owner's key is gone, but a
//! copy of the key outlives its destruction. Each run writes this file again and removes the previous one. The name
//! contains the content's hash, so that the finished export's file stays until the next one is complete.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::BackupError;
use super::files::PendingFile;
use super::manifest::KeysFile;
use super::segment::{CompressedLines, compress};

/// Wrapped keys by their names in the bucket.
pub type Keys = BTreeMap<String, Bytes>;

#[derive(Serialize, Deserialize)]
struct KeyLine {
    name: String,
    wrapped: String,
}

/// Whether a name is that of a file of keys.
#[must_use]
pub fn is_keys(name: &str) -> bool {
    name.starts_with("keys-") && name.ends_with(".jsonl.zst")
}

/// Writes the file.
///
/// # Errors
/// [`BackupError::Io`].
pub fn write(directory: &Path, keys: &Keys) -> Result<KeysFile, BackupError> {
    let file = PendingFile::create(directory, "keys")?;
    let path = file.path().to_owned();
    let mut out = compress(file)?;
    for (name, wrapped) in keys {
        let line = KeyLine { name: name.clone(), wrapped: STANDARD.encode(wrapped) };
        let written = serde_json::to_writer(&mut out, &line).map_err(Into::into).and_then(|()| out.write_all(b"\n"));
        written.map_err(BackupError::io(&path, "written"))?;
    }
    let file = out.finish().map_err(BackupError::io(&path, "written"))?;
    let name = format!("keys-{:.16}.jsonl.zst", file.hash().to_string());
    let (bytes, sha256) = file.publish(directory, &name)?;
    Ok(KeysFile { name, bytes, sha256, keys: keys.len() as u64 })
}

/// Reads and checks the file.
///
/// # Errors
/// [`BackupError`].
pub fn read(directory: &Path, file: &KeysFile) -> Result<Keys, BackupError> {
    let mut lines = CompressedLines::open(directory, &file.name)?;
    let (mut keys, mut line) = (Keys::new(), Vec::new());
    while lines.next(&mut line)? {
        let KeyLine { name, wrapped } =
            serde_json::from_slice(&line).map_err(|error| lines.damaged(error.to_string()))?;
        let wrapped = STANDARD.decode(wrapped).map_err(|error| lines.damaged(error.to_string()))?;
        if keys.insert(name, wrapped.into()).is_some() {
            return Err(lines.damaged("names a key a second time"));
        }
    }
    if keys.len() as u64 != file.keys {
        return Err(lines.damaged(format!("is missing; {} keys are expected", file.keys)));
    }
    lines.verify_file(file.bytes, file.sha256)?;
    Ok(keys)
}
