//! Atomic files: each is written under another name, synced and renamed, and the directory is synced. So a file under
//! its final name is complete, also after a power failure.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::BackupError;
use super::line::Hash;

/// The suffix of the name under which a file is written.
const PENDING_SUFFIX: &str = ".tmp";

/// A file that is being written. If it is dropped before [`PendingFile::publish`], the next run removes it.
pub struct PendingFile {
    file: File,
    path: PathBuf,
    hash: Context,
    bytes: u64,
}

impl PendingFile {
    /// Creates a file of `directory` that only its owner can read.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn create(directory: &Path, name: &str) -> Result<Self, BackupError> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = directory.join(format!("{name}{PENDING_SUFFIX}"));
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = file.map_err(BackupError::io(&path, "written"))?;
        Ok(Self { file, path, hash: Context::new(&SHA256), bytes: 0 })
    }

    /// Syncs the file and gives it its final name; returns its size and hash.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn publish(self, directory: &Path, name: &str) -> Result<(u64, Hash), BackupError> {
        let path = directory.join(name);
        let renamed = self.file.sync_all().and_then(|()| fs::rename(&self.path, &path)).and_then(|()| sync(directory));
        renamed.map_err(BackupError::io(&path, "written"))?;
        Ok((self.bytes, Hash::finish(self.hash)))
    }

    /// The path while it is being written.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The hash of the bytes written so far.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::finish(self.hash.clone())
    }
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A reader that hashes what it reads.
pub struct HashingReader<R> {
    inner: R,
    hash: Context,
    bytes: u64,
}

impl<R> HashingReader<R> {
    /// Wraps a reader.
    pub fn new(inner: R) -> Self {
        Self { inner, hash: Context::new(&SHA256), bytes: 0 }
    }

    /// The size and hash of the bytes read so far.
    pub fn read_so_far(&self) -> (u64, Hash) {
        (self.bytes, Hash::finish(self.hash.clone()))
    }
}

impl<R: io::Read> io::Read for HashingReader<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(to)?;
        self.hash.update(&to[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

/// Removes the pending files of an interrupted run, and all files whose name is `unwanted`.
///
/// # Errors
/// [`BackupError::Io`].
pub fn remove_leftovers(directory: &Path, unwanted: impl Fn(&str) -> bool) -> Result<(), BackupError> {
    for name in names(directory)? {
        if is_pending(&name) || unwanted(&name) {
            let path = directory.join(name);
            fs::remove_file(&path).map_err(BackupError::io(&path, "removed"))?;
        }
    }
    Ok(())
}

/// The names of all files in a directory, including pending ones.
///
/// # Errors
/// [`BackupError::Io`].
pub fn names(directory: &Path) -> Result<Vec<String>, BackupError> {
    let name = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let names = fs::read_dir(directory).and_then(|entries| entries.map(name).collect());
    names.map_err(BackupError::io(directory, "read"))
}

/// Whether a name is that of a pending file.
#[must_use]
pub fn is_pending(name: &str) -> bool {
    name.ends_with(PENDING_SUFFIX)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
