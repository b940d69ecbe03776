//! Uploads the authorized keys to a container that has no directory for them (`keys_dir`), and downloads its host keys.
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
/// The file in which the agent notes which version of the authorized keys it has uploaded: people change the keys in their
/// containers themselves, so the agent must not upload the same ones again after a restart.
const KEYS_VERSION_PATH: &str = "/etc/dockhost/keys_version";
/// Maximum size of a downloaded archive that is read.
const MAX_ARCHIVE_BYTES: usize = 64 * 1024;
/// Maximum number of host keys that are reported.
const MAX_HOST_KEYS: usize = 8;

/// Authorizes these keys, and no others, to log in as root.
pub(super) async fn upload_authorized_keys(
    docker: &Docker,
    id: &str,
    (version, keys): (u32, &[String]),
) -> Result<(), RuntimeError> {
    let archive = authorized_keys(version, keys).map_err(|error| RuntimeError::Other {
        action: "could not create the archive of the authorized keys",
        source: error.into(),
    })?;
    let options = UploadToContainerOptionsBuilder::default().path("/").build();
    docker
        .upload_to_container(id, Some(options), bollard::body_full(archive))
        .await
        .map_err(container_error("could not upload the authorized keys"))
}

/// The text of an `authorized_keys` file.
pub(super) fn lines(keys: &[String]) -> String {
    // The server has validated each key; only its first line is used, because a second one would authorize another key.
    keys.iter().map(|key| format!("{}\n", key.lines().next().unwrap_or_default())).collect()
}

fn authorized_keys(version: u32, keys: &[String]) -> std::io::Result<Bytes> {
    let lines = lines(keys);
    let mut archive = Builder::new(Vec::new());
    // Without an entry for `root/`, whose mode the image defines. sshd requires this mode for `.ssh`.
    let mut folder = header(EntryType::Directory, 0o700, 0);
    archive.append_data(&mut folder, "root/.ssh", std::io::empty())?;
    let mut file = header(EntryType::Regular, 0o600, lines.len() as u64);
    archive.append_data(&mut file, "root/.ssh/authorized_keys", lines.as_bytes())?;
    if version > 0 {
        // The last entry: if the upload breaks off, it is repeated.
        let text = format!("{version}\n");
        let mut file = header(EntryType::Regular, 0o644, text.len() as u64);
        archive.append_data(&mut file, KEYS_VERSION_PATH.trim_start_matches('/'), text.as_bytes())?;
    }
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
    // No such file: the image does not publish the keys, or the container has never run.
    let text = download(docker, id, HOST_KEYS_PATH, "could not read the host keys").await?;
    Ok(text.map(|text| HostKeys::of(fingerprints(&text).iter().map(String::as_str))).unwrap_or_default())
}

/// The version of the authorized keys that were uploaded last; 0 if none were since the first start, or if the container's
/// owner removed the note.
pub(super) async fn keys_version(docker: &Docker, id: &str) -> Result<u32, RuntimeError> {
    let text = download(docker, id, KEYS_VERSION_PATH, "could not read the version of the authorized keys").await?;
    Ok(text.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}

/// The text of a file in a container; none if there is no such regular file.
async fn download(docker: &Docker, id: &str, path: &str, action: &'static str) -> Result<Option<String>, RuntimeError> {
    let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
    let mut stream = std::pin::pin!(docker.download_from_container(id, Some(options)));
    let mut archive = Vec::new();
    while let Some(chunk) = stream.next().await {
        match chunk.map_err(file_error(action)) {
            Ok(chunk) => archive.extend_from_slice(&chunk[..chunk.len().min(MAX_ARCHIVE_BYTES - archive.len())]),
            Err(RuntimeError::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        }
        if archive.len() == MAX_ARCHIVE_BYTES {
            break;
        }
    }
    Ok(first_file(&archive))
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

    fn entries(archive: &[u8]) -> Vec<(String, u32, String)> {
        let mut archive = Archive::new(archive);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap(), text)
        });
        entries.collect()
    }

    #[test]
    fn authorized_keys_has_one_line_for_each_key_with_the_modes_that_sshd_requires() {
        let first = "ssh-ed25519 AAAA me\nssh-ed25519 BBBB another".to_owned();
        let archive = authorized_keys(0, std::slice::from_ref(&first)).unwrap();
        let folder = ("root/.ssh".to_owned(), 0o700, String::new());
        let keys = |text: &str| ("root/.ssh/authorized_keys".to_owned(), 0o600, text.to_owned());
        assert_eq!(entries(&archive), [folder.clone(), keys("ssh-ed25519 AAAA me\n")]);
        let archive = authorized_keys(3, &[first, "ssh-ed25519 CCCC".to_owned()]).unwrap();
        let version = ("etc/dockhost/keys_version".to_owned(), 0o644, "3\n".to_owned());
        assert_eq!(entries(&archive), [folder.clone(), keys("ssh-ed25519 AAAA me\nssh-ed25519 CCCC\n"), version]);
        assert_eq!(entries(&authorized_keys(0, &[]).unwrap()), [folder, keys("")], "no key logs in");
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
