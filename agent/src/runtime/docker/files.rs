//! Uploads the authorized key to a container and downloads its host keys.
//!
//! Both are tar archives over the engine's API. That works on stopped containers and executes nothing inside, so a user's
//! text never reaches a shell. The container's owner can forge what it returns, so the agent reads a limited amount and
//! uses it for that container only. `images/README.md` specifies the paths.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bollard::Docker;
use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder};
use bytes::Bytes;
use dockhost_domain::reported::HostKeys;
use futures::StreamExt;
use sha2::{Digest, Sha256};
use tar::{Archive, Builder, EntryType, Header};

use super::errors::{container_error, file_error};
use crate::runtime::RuntimeError;

/// The file in which the container publishes its host keys.
const HOST_KEYS_PATH: &str = "/etc/dockhost/host_keys.pub";
/// Maximum size of a downloaded archive that is read.
const MAX_ARCHIVE_BYTES: usize = 64 * 1024;
/// Maximum number of host keys that are reported.
const MAX_HOST_KEYS: usize = 8;

/// Authorizes this key to log in as root.
pub(super) async fn upload_authorized_key(docker: &Docker, id: &str, key: &str) -> Result<(), RuntimeError> {
    let archive = authorized_keys(key).map_err(|error| RuntimeError::Other {
        action: "could not create the archive of the authorized key",
        source: error.into(),
    })?;
    let options = UploadToContainerOptionsBuilder::default().path("/").build();
    docker
        .upload_to_container(id, Some(options), bollard::body_full(archive))
        .await
        .map_err(container_error("could not upload the authorized key"))
}

fn authorized_keys(key: &str) -> std::io::Result<Bytes> {
    // The server has validated the key; only the first line is used, because a second one would authorize another key.
    let line = format!("{}\n", key.lines().next().unwrap_or_default());
    let mut archive = Builder::new(Vec::new());
    // Without an entry for `root/`, whose mode the image defines. sshd requires this mode for `.ssh`.
    let mut folder = header(EntryType::Directory, 0o700, 0);
    archive.append_data(&mut folder, "root/.ssh", std::io::empty())?;
    let mut file = header(EntryType::Regular, 0o600, line.len() as u64);
    archive.append_data(&mut file, "root/.ssh/authorized_keys", line.as_bytes())?;
    Ok(archive.into_inner()?.into())
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header
}

/// The fingerprints of the container's host keys, in the file's order.
pub(super) async fn host_keys(docker: &Docker, id: &str) -> Result<HostKeys, RuntimeError> {
    let options = DownloadFromContainerOptionsBuilder::default().path(HOST_KEYS_PATH).build();
    let mut stream = std::pin::pin!(docker.download_from_container(id, Some(options)));
    let mut archive = Vec::new();
    while let Some(chunk) = stream.next().await {
        match chunk.map_err(file_error("could not read the host keys")) {
            Ok(chunk) => archive.extend_from_slice(&chunk[..chunk.len().min(MAX_ARCHIVE_BYTES - archive.len())]),
            // No such file: the image does not publish the keys, or the container has never run.
            Err(RuntimeError::NotFound) => return Ok(HostKeys::default()),
            Err(error) => return Err(error),
        }
        if archive.len() == MAX_ARCHIVE_BYTES {
            break;
        }
    }
    Ok(first_file(&archive)
        .map(|text| HostKeys::of(fingerprints(&text).iter().map(String::as_str)))
        .unwrap_or_default())
}

/// The text of the first entry, if that is a regular file.
fn first_file(archive: &[u8]) -> Option<String> {
    let mut archive = Archive::new(archive);
    let mut entry = archive.entries().ok()?.next()?.ok()?;
    let mut text = String::new();
    if entry.header().entry_type() != EntryType::Regular {
        return None;
    }
    entry.read_to_string(&mut text).ok()?;
    Some(text)
}

/// `SHA256:…` of each public key, as `ssh-keygen -l` prints it.
fn fingerprints(public_keys: &str) -> Vec<String> {
    public_keys
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(1))
        .filter_map(|blob| STANDARD.decode(blob).ok())
        .take(MAX_HOST_KEYS)
        .map(|blob| format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_equal_those_of_ssh_keygen() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMXOUsbZXZ9V7m4WjaK/6wznfQZJb9slyKLs1bjzj/MO root@foo\n";
        assert_eq!(fingerprints(key), ["SHA256:1C9QXBKspa0T9zjGgIb/Mfa1x0sWnp9YNED+O4Mwyj4"]);
        assert_eq!(fingerprints("nonsense\n\nssh-rsa ###\n"), Vec::<String>::new());
        assert_eq!(fingerprints(&key.repeat(100)).len(), MAX_HOST_KEYS);
    }

    #[test]
    fn authorized_keys_contains_one_key_with_the_modes_that_sshd_requires() {
        let archive = authorized_keys("ssh-ed25519 AAAA me\nssh-ed25519 BBBB another").unwrap();
        let mut archive = Archive::new(&archive[..]);
        let entries: Vec<(String, u32, String)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap(), text)
            })
            .collect();
        assert_eq!(
            entries,
            [
                ("root/.ssh".to_owned(), 0o700, String::new()),
                ("root/.ssh/authorized_keys".to_owned(), 0o600, "ssh-ed25519 AAAA me\n".to_owned()),
            ]
        );
    }

    #[test]
    fn first_file_symlink_is_not_followed() {
        let mut archive = Builder::new(Vec::new());
        let mut link = header(EntryType::Symlink, 0o777, 0);
        archive.append_link(&mut link, "host_keys.pub", "/etc/shadow").unwrap();
        assert_eq!(first_file(&archive.into_inner().unwrap()), None);
        assert_eq!(first_file(b"truncated"), None);
    }
}
