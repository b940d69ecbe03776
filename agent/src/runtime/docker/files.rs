//! What the agent puts into a container and reads from it: files, never commands.
//!
//! In: the key that may log in. Out: the fingerprints of the host keys. Both travel as tar archives over the engine's
//! API, which works on stopped containers and runs nothing inside, so no text of a user comes near a shell. What a
//! container gives back is its owner's to forge: it is read up to a limit, parsed, and believed about that one
//! container only. The paths are the contract of `images/README.md`.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bollard::Docker;
use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder};
use bytes::Bytes;
use futures::StreamExt;
use sha2::{Digest, Sha256};
use tar::{Archive, Builder, EntryType, Header};

use super::errors::container_error;
use crate::runtime::RuntimeError;

/// Where the container tells its public host keys.
const HOST_KEYS_PATH: &str = "/etc/dockhost/host_keys.pub";
/// Bytes of an archive that are read at most.
const MAX_ARCHIVE_BYTES: usize = 64 * 1024;
/// Host keys that are told at most.
const MAX_HOST_KEYS: usize = 8;

/// Lets this key log in as root.
pub(super) async fn upload_authorized_key(docker: &Docker, id: &str, key: &str) -> Result<(), RuntimeError> {
    let archive = authorized_keys(key)
        .map_err(|error| RuntimeError::Other { action: "could not pack the key", source: error.into() })?;
    let options = UploadToContainerOptionsBuilder::default().path("/").build();
    docker
        .upload_to_container(id, Some(options), bollard::body_full(archive))
        .await
        .map_err(container_error("could not put the key into the container"))
}

fn authorized_keys(key: &str) -> std::io::Result<Bytes> {
    // The server parsed and wrote the key anew; a second line would still be a second key, so it never gets one.
    let line = format!("{}\n", key.lines().next().unwrap_or_default());
    let mut archive = Builder::new(Vec::new());
    // Not `root/` itself: its mode is the image's matter, and sshd insists on that of `.ssh`.
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

/// The fingerprints of the container's host keys, in the order in which it tells them.
pub(super) async fn host_keys(docker: &Docker, id: &str) -> Result<Vec<String>, RuntimeError> {
    let options = DownloadFromContainerOptionsBuilder::default().path(HOST_KEYS_PATH).build();
    let mut stream = std::pin::pin!(docker.download_from_container(id, Some(options)));
    let mut archive = Vec::new();
    while let Some(chunk) = stream.next().await {
        match chunk.map_err(container_error("could not read the host keys")) {
            Ok(chunk) => archive.extend_from_slice(&chunk[..chunk.len().min(MAX_ARCHIVE_BYTES - archive.len())]),
            // No such file: an image that doesn't tell them, or a container that has never run.
            Err(RuntimeError::NotFound) => return Ok(vec![]),
            Err(error) => return Err(error),
        }
        if archive.len() == MAX_ARCHIVE_BYTES {
            break;
        }
    }
    Ok(first_file(&archive).map(|text| fingerprints(&text)).unwrap_or_default())
}

/// The text of the first regular file; a link, a folder or a torn archive has none.
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
    fn a_fingerprint_is_the_one_that_ssh_shows() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMXOUsbZXZ9V7m4WjaK/6wznfQZJb9slyKLs1bjzj/MO root@foo\n";
        assert_eq!(fingerprints(key), ["SHA256:1C9QXBKspa0T9zjGgIb/Mfa1x0sWnp9YNED+O4Mwyj4"]);
        assert_eq!(fingerprints("nonsense\n\nssh-rsa ###\n"), Vec::<String>::new());
        assert_eq!(fingerprints(&key.repeat(100)).len(), MAX_HOST_KEYS);
    }

    #[test]
    fn exactly_one_key_goes_in_with_the_modes_that_sshd_insists_on() {
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
    fn a_link_in_place_of_the_host_keys_is_not_followed() {
        let mut archive = Builder::new(Vec::new());
        let mut link = header(EntryType::Symlink, 0o777, 0);
        archive.append_link(&mut link, "host_keys.pub", "/etc/shadow").unwrap();
        assert_eq!(first_file(&archive.into_inner().unwrap()), None);
        assert_eq!(first_file(b"torn"), None);
    }
}
