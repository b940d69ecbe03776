//! The directories of this machine from which containers read the keys that may log in, one for each container.
//!
//! A container has its directory as a mount that it can only read. The agent replaces the file in it by renaming another one,
//! so that each login sees all old keys or all new ones, and the engine has nothing to do. That needs an image that reads
//! the file (`images/README.md`), and an engine that sees the agent's directories. Otherwise the agent uploads the keys into
//! the container: see [`super::files`].

use std::collections::HashSet;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::files::lines;
use crate::replace_file::{new_file, replace_file};
use crate::runtime::RuntimeError;

/// Where a container sees its directory.
pub(super) const MOUNT_POINT: &str = "/etc/dockhost/keys";
/// The label of an image that reads the keys from there; its value is [`MOUNT_POINT`].
pub(super) const IMAGE_LABEL: &str = "dockhost.reads-keys-from";

const FILE: &str = "authorized_keys";
/// The first line of the file says which version it has.
const VERSION: &str = "# version ";
/// The container of a younger directory may still have to be created.
const MIN_AGE_OF_LEFTOVERS: Duration = Duration::from_secs(600);

/// The directories of all containers.
#[derive(Debug)]
pub(super) struct KeysDirs {
    root: PathBuf,
    /// Whether the engine does not see them.
    is_unusable: AtomicBool,
}

impl KeysDirs {
    /// Directories below this one. `reads_mounts` is whether containers of the engine can read what is mounted.
    pub(super) fn new(root: PathBuf, reads_mounts: bool) -> Self {
        Self { root, is_unusable: AtomicBool::new(!reads_mounts) }
    }

    /// The directory of a new container, with these keys in it; `None` if they have to be uploaded.
    pub(super) async fn prepare(&self, container: &str, keys: (u32, &[String])) -> Option<PathBuf> {
        if self.is_unusable.load(Ordering::Relaxed) {
            return None;
        }
        let dir = self.root.join(container);
        match write(&dir, keys).await {
            Ok(()) => Some(dir),
            Err(error) => {
                tracing::warn!(
                    dir = %self.root.display(),
                    error = error.with_causes(),
                    "could not write the keys that may log in there; uploading them to the containers instead"
                );
                self.is_unusable.store(true, Ordering::Relaxed);
                None
            }
        }
    }

    /// Whether the engine refused to create a container because it does not see the directory, which is then removed. From
    /// then on, keys are uploaded.
    pub(super) async fn is_missing_for_engine(&self, dir: &Path, error: &RuntimeError) -> bool {
        let error = error.with_causes().to_string();
        let is_missing = error.contains(&dir.display().to_string());
        if is_missing {
            tracing::warn!(
                dir = %self.root.display(),
                error,
                "the container engine does not see this directory; uploading the keys that may log in to the containers instead"
            );
            self.is_unusable.store(true, Ordering::Relaxed);
            remove(dir).await;
        }
        is_missing
    }

    /// The directories of containers that may be gone.
    pub(super) async fn old_ones(&self) -> io::Result<Vec<PathBuf>> {
        let root = self.root.clone();
        blocking(move || {
            let entries = match fs::read_dir(&root) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                entries => entries?,
            };
            let mut found = Vec::new();
            for entry in entries {
                let entry = entry?;
                let metadata = entry.metadata()?;
                let is_old = metadata.modified()?.elapsed().is_ok_and(|age| age >= MIN_AGE_OF_LEFTOVERS);
                if metadata.is_dir() && is_old {
                    found.push(entry.path());
                }
            }
            Ok(found)
        })
        .await
    }
}

/// Writes these keys, unless the directory has them or those of a later version.
pub(super) async fn write(dir: &Path, (version, keys): (u32, &[String])) -> Result<(), RuntimeError> {
    let (dir, text) = (dir.to_owned(), format!("{VERSION}{version}\n{}", lines(keys)));
    let written = blocking(move || write_file(&dir, version, &text)).await;
    written
        .map_err(|source| RuntimeError::Other { action: "could not write the authorized keys", source: source.into() })
}

fn write_file(dir: &Path, version: u32, text: &str) -> io::Result<()> {
    match fs::read_to_string(dir.join(FILE)) {
        Ok(current) if current == text || version_of(&current).is_some_and(|current| current > version) => {
            return Ok(());
        }
        // A damaged file is written again.
        _ => {}
    }
    if let Some(root) = dir.parent() {
        // Others need to open directories in it, and not to list them.
        DirBuilder::new().recursive(true).mode(0o711).create(root)?;
    }
    DirBuilder::new().recursive(true).create(dir)?;
    // Whatever the agent's umask: root in the container may be another user here.
    fs::set_permissions(dir, Permissions::from_mode(0o755))?;
    replace_file(&dir.join(FILE), 0o644, text.as_bytes())
}

fn version_of(text: &str) -> Option<u32> {
    text.lines().next()?.strip_prefix(VERSION)?.parse().ok()
}

/// Removes a directory whose container is gone.
pub(super) async fn remove(dir: &Path) {
    let path = dir.to_owned();
    let removed = blocking(move || {
        // Not whatever else may be there.
        let file = path.join(FILE);
        ignore_missing(fs::remove_file(new_file(&file)))?;
        ignore_missing(fs::remove_file(&file))?;
        ignore_missing(fs::remove_dir(&path))
    });
    if let Err(error) = removed.await {
        tracing::warn!(dir = %dir.display(), %error, "could not remove the keys of a removed container; trying again later");
    }
}

/// Removes those of these directories that no container has.
pub(super) async fn remove_unused(old_ones: Vec<PathBuf>, used: &HashSet<PathBuf>) {
    for dir in old_ones.iter().filter(|dir| !used.contains(*dir)) {
        remove(dir).await;
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn text(dir: &Path) -> String {
        fs::read_to_string(dir.join(FILE)).unwrap()
    }

    #[tokio::test]
    async fn keys_written_replace_earlier_versions_only() {
        let root = tempfile::tempdir().unwrap();
        let dirs = KeysDirs::new(root.path().join("keys"), true);
        let dir = dirs.prepare("c1", (0, &keys(&["ssh-ed25519 AAAA\nssh-ed25519 EVIL"]))).await.unwrap();
        assert_eq!(text(&dir), "# version 0\nssh-ed25519 AAAA\n");
        write(&dir, (2, &keys(&["ssh-ed25519 BBBB", "ssh-ed25519 CCCC"]))).await.unwrap();
        let second = "# version 2\nssh-ed25519 BBBB\nssh-ed25519 CCCC\n";
        assert_eq!(text(&dir), second);
        // A late delivery of an earlier assignment.
        write(&dir, (1, &keys(&["ssh-ed25519 AAAA"]))).await.unwrap();
        assert_eq!(text(&dir), second);
        fs::write(dir.join(FILE), "damaged").unwrap();
        write(&dir, (2, &keys(&["ssh-ed25519 BBBB", "ssh-ed25519 CCCC"]))).await.unwrap();
        assert_eq!(text(&dir), second);
        write(&dir, (3, &[])).await.unwrap();
        assert_eq!(text(&dir), "# version 3\n", "no key logs in");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join(FILE)), mode(&root.path().join("keys"))), (0o755, 0o644, 0o711));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing but the keys is left");
    }

    #[tokio::test]
    async fn keys_directory_that_the_engine_does_not_see_is_not_used_again() {
        let root = tempfile::tempdir().unwrap();
        let dirs = KeysDirs::new(root.path().to_owned(), true);
        let dir = dirs.prepare("c1", (0, &[])).await.unwrap();
        let error =
            |message: String| RuntimeError::Other { action: "could not create", source: anyhow::anyhow!(message) };
        assert!(!dirs.is_missing_for_engine(&dir, &error("no space left on device".to_owned())).await);
        let missing = error(format!("invalid mount config: bind source path does not exist: {}", dir.display()));
        assert!(dirs.is_missing_for_engine(&dir, &missing).await);
        assert!(!dir.exists() && dirs.prepare("c2", (0, &[])).await.is_none());
        assert!(KeysDirs::new(root.path().to_owned(), false).prepare("c3", (0, &[])).await.is_none());
    }

    #[tokio::test]
    async fn keys_directories_without_a_container_are_removed_once_they_are_old() {
        let root = tempfile::tempdir().unwrap();
        let dirs = KeysDirs::new(root.path().join("keys"), true);
        assert!(dirs.old_ones().await.unwrap().is_empty());
        let mut made = Vec::new();
        for name in ["used", "gone", "young"] {
            made.push(dirs.prepare(name, (0, &[])).await.unwrap());
        }
        let long_ago = fs::metadata(&made[0]).unwrap().modified().unwrap() - 2 * MIN_AGE_OF_LEFTOVERS;
        for dir in &made[..2] {
            fs::File::open(dir).unwrap().set_modified(long_ago).unwrap();
        }
        remove_unused(dirs.old_ones().await.unwrap(), &HashSet::from([made[0].clone()])).await;
        assert_eq!(made.iter().map(|dir| dir.exists()).collect::<Vec<_>>(), [true, false, true]);
    }
}
