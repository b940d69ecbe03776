//! The log in files, and back: `dockhost export` and `dockhost import`.
//!
//! In: the stored messages of EVENTS and the wrapped keys of the bucket KEYS. Out: a directory whose every line is
//! chained to the one before, and from it the same log on an empty broker. `docs/BACKUP.md` is the contract. Nothing
//! here opens a seal or reads an event: what this binary can't read is kept all the same.
//!
//! - [`mod@line`]: one event as a line of text, and the chain; pure. [`segment`]: a compressed file of lines.
//! - [`manifest`]: what a finished export holds. [`keys`]: the file of wrapped keys; [`bucket`]: where they come from.
//! - [`files`]: how files get in place.
//! - [`check`]: the whole directory against its manifest, without a server. [`export`], [`import`]: the commands.

pub mod bucket;
pub mod check;
pub mod export;
pub mod files;
pub mod import;
pub mod keys;
pub mod line;
pub mod manifest;
pub mod segment;

use std::path::{Path, PathBuf};

/// An export can't be written, or is not what it says.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file can't be read or written.
    #[error("{} can't be {what}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Read, written and the like.
        what: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what was written; names the first bad place.
    #[error("{place}: {why}")]
    Damaged {
        /// The file, and the line if it is one.
        place: String,
        /// What is wrong there.
        why: String,
    },
}

impl BackupError {
    fn io(path: &Path, what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, what, source }
    }

    fn damaged(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Damaged { place: place.into(), why: why.into() }
    }
}
