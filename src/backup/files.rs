//! How a file gets into its place: written beside it, synced, renamed, and the directory synced. So a name that is
//! there always names a whole file, whenever the power went.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::BackupError;
use super::line::Hash;

/// The end of a name that is not in its place yet.
const PENDING_SUFFIX: &str = ".tmp";

/// A file that is being written; dropped before [`PendingFile::publish`], it is left over and swept up by the next run.
pub struct PendingFile {
    file: File,
    path: PathBuf,
    hash: Context,
    bytes: u64,
}

impl PendingFile {
    /// Begins a file of `directory`, readable by its owner only.
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

    /// Puts it into its place for good; returns its size and hash.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn publish(self, directory: &Path, name: &str) -> Result<(u64, Hash), BackupError> {
        let place = directory.join(name);
        let placed = self.file.sync_all().and_then(|()| fs::rename(&self.path, &place)).and_then(|()| sync(directory));
        placed.map_err(BackupError::io(&place, "written"))?;
        Ok((self.bytes, Hash::finish(self.hash)))
    }

    /// Its path as long as it is a pending.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The hash of what was written so far.
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

/// Reads and hashes.
pub struct HashingReader<R> {
    inner: R,
    hash: Context,
    bytes: u64,
}

impl<R> HashingReader<R> {
    /// Nothing is read yet.
    pub fn new(inner: R) -> Self {
        Self { inner, hash: Context::new(&SHA256), bytes: 0 }
    }

    /// The size and hash of what was read.
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

/// Removes a file, and what a crash left of drafts.
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

/// The names in a directory, drafts of an interrupted run among them.
///
/// # Errors
/// [`BackupError::Io`].
pub fn names(directory: &Path) -> Result<Vec<String>, BackupError> {
    let read = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let names = fs::read_dir(directory).and_then(|entries| entries.map(read).collect());
    names.map_err(BackupError::io(directory, "read"))
}

/// Whether a name is that of a temporary file.
#[must_use]
pub fn is_pending(name: &str) -> bool {
    name.ends_with(PENDING_SUFFIX)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
