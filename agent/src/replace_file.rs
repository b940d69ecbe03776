//! Replaces a file at once, so that a crash leaves the old one or the new one.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where the new file is written before it is renamed: the same name with `.new`.
#[must_use]
pub fn new_file(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    name.into()
}

/// Replaces the file, or creates it, with these permissions whatever the umask is. Its directory must exist.
///
/// # Errors
/// Those of the file system.
pub fn replace_file(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let new_file = new_file(path);
    // One that a crash left may have other permissions.
    match fs::remove_file(&new_file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new_file)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new_file, path)?;
    // Otherwise a power cut could bring the old file back.
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
