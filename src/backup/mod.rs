//! Export and import of the log: `dockhost export` and `dockhost import`. `docs/BACKUP.md` specifies the format.
//!
//! An export is a directory with the stored messages of EVENTS, each line chained to the one before, and the wrapped
//! keys of the bucket KEYS. No value is unsealed and no event decoded, so events that this binary can't read are copied
//! too.
//!
//! - [`export`], [`import`]: the commands. [`check`]: compares a directory with its manifest, without a server.
//! - [`mod@line`]: an event as a line, and the chain. [`segment`]: a compressed file of lines. [`manifest`]: the list
//!   of files. [`keys`]: the file of wrapped keys; [`bucket`]: the bucket KEYS.
//! - [`files`]: how files are written atomically.

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

/// An export can't be written, or is damaged.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file can't be read or written.
    #[error("{} can't be {what}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The failed action: "read", "written" and the like.
        what: &'static str,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A file differs from what was written.
    #[error("{place}: {why}")]
    Damaged {
        /// The file, and the line if it is one.
        place: String,
        /// What is wrong.
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
