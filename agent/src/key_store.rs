//! The key that this agent uses: the configured one, or one that the server has given it since.
//!
//! When an administrator rotates the key, or the server's secret changes, the answer to a hello has the new one. It is
//! stored in the agent's directory, so that the agent has it after a restart, too, and used from the next connection on.
//! If another key is configured later, it is used instead of the stored one. An agent that can't store a key keeps its own.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use dockhost_domain::reported::KeyDigest;
use serde::{Deserialize, Serialize};

use crate::key::{ApiKey, key_digest};
use crate::replace_file::replace_file;

/// The key in use; clones share it.
#[derive(Debug, Clone)]
pub struct KeyStore {
    current: Arc<RwLock<Current>>,
    /// Where another key is stored; `None` if there is no place for one.
    place: Option<Place>,
}

#[derive(Debug, Clone)]
struct Place {
    /// The digest of the configured key.
    configured: KeyDigest,
    path: PathBuf,
}

#[derive(Debug)]
struct Current {
    key: ApiKey,
    /// Whether it is neither configured nor stored.
    unsaved: bool,
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    /// The digest of the configured key that this one replaces.
    replaces: KeyDigest,
    api_key: String,
}

impl KeyStore {
    /// The stored key if it replaces the configured one, else that one.
    #[must_use]
    pub fn open(dir: &Path, configured: ApiKey) -> Self {
        let path = dir.join(format!("{}.key", configured.backend()));
        let digest = key_digest(configured.reveal());
        let stored = match read(&path) {
            Ok(stored) => stored.filter(|stored| stored.replaces == digest),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "could not read the stored API key");
                None
            }
        };
        let stored = stored.and_then(|stored| stored.api_key.parse::<ApiKey>().ok());
        let stored = stored.filter(|key| key.backend() == configured.backend());
        if stored.is_some() {
            tracing::info!(path = %path.display(), "using the stored API key, which has replaced the configured one");
        }
        let current = Current { key: stored.unwrap_or(configured), unsaved: false };
        Self { current: Arc::new(RwLock::new(current)), place: Some(Place { configured: digest, path }) }
    }

    /// Always this key: the store takes no other key from the server.
    #[must_use]
    pub fn fixed(key: ApiKey) -> Self {
        Self { current: Arc::new(RwLock::new(Current { key, unsaved: false })), place: None }
    }

    /// Whether a key that the server gives is used.
    #[must_use]
    pub const fn takes_others(&self) -> bool {
        self.place.is_some()
    }

    /// The key in use.
    #[must_use]
    pub fn current(&self) -> ApiKey {
        self.current.read().unwrap_or_else(PoisonError::into_inner).key.clone()
    }

    /// Uses and stores a key that the server has given. One of another backend is ignored, and any if there is no place for
    /// it.
    pub fn replace(&self, text: &str) {
        if !self.takes_others() {
            return;
        }
        let Some(key) = text.parse::<ApiKey>().ok().filter(|key| key.backend() == self.current().backend()) else {
            tracing::error!("ignoring an API key of the server that is not of this backend");
            return;
        };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Current { key, unsaved: true };
        self.save();
    }

    /// Stores the key in use if that has failed before. The server does not give it again to an agent that has it.
    pub fn save(&self) {
        let Some(Place { configured, path }) = &self.place else { return };
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if !current.unsaved {
            return;
        }
        let stored = Stored { replaces: configured.clone(), api_key: current.key.reveal().to_owned() };
        match write(path, &stored) {
            Ok(()) => {
                current.unsaved = false;
                tracing::info!(path = %path.display(), "the API key has changed; stored the new one");
            }
            Err(error) => tracing::error!(
                %error,
                path = %path.display(),
                "the API key has changed, and could not be stored: this agent has it until it ends, and tries again with \
                 its next connection; if it ends before, give it the current key of `backend/signin`"
            ),
        }
    }
}

fn read(path: &Path) -> io::Result<Option<Stored>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Only this user can read it.
fn write(path: &Path, stored: &Stored) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    replace_file(path, 0o600, &serde_json::to_vec(stored)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn key(backend: u8, version: u32) -> String {
        let id = format!("0193b3a0-0000-7000-8000-00000000000{backend}");
        let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"{id}","ver":{version}}}"#));
        format!("head.{claims}.signature")
    }

    fn open(dir: &Path, configured: &str) -> KeyStore {
        KeyStore::open(dir, configured.parse().unwrap())
    }

    fn path(store: &KeyStore) -> &Path {
        &store.place.as_ref().unwrap().path
    }

    #[test]
    fn key_store_that_is_fixed_takes_no_other_key() {
        let store = KeyStore::fixed(key(1, 1).parse().unwrap());
        store.replace(&key(1, 2));
        store.save();
        assert_eq!((store.current().reveal(), store.takes_others()), (key(1, 1).as_str(), false));
    }

    #[test]
    fn key_store_keeps_a_replacement_until_another_key_is_configured() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let store = open(&state, &key(1, 1));
        assert_eq!(store.current().reveal(), key(1, 1));
        store.clone().replace(&key(1, 2));
        assert_eq!(store.current().reveal(), key(1, 2), "clones share it");
        let file = fs::metadata(path(&store)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
        // After a restart, and after a further replacement.
        let again = open(&state, &key(1, 1));
        assert_eq!(again.current().reveal(), key(1, 2));
        again.replace(&key(1, 3));
        assert_eq!(open(&state, &key(1, 1)).current().reveal(), key(1, 3));
        // The operator has configured another one since.
        assert_eq!(open(&state, &key(1, 4)).current().reveal(), key(1, 4));
        assert_eq!(open(&state, &key(2, 1)).current().reveal(), key(2, 1));
    }

    #[test]
    fn key_store_that_could_not_store_the_key_tries_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::write(&state, b"not a directory").unwrap();
        let store = open(&state, &key(1, 1));
        store.replace(&key(1, 2));
        assert_eq!(store.current().reveal(), key(1, 2), "in use all the same");
        fs::remove_file(&state).unwrap();
        store.save();
        assert_eq!(open(&state, &key(1, 1)).current().reveal(), key(1, 2));
    }

    #[test]
    fn key_store_ignores_keys_of_other_backends_and_damaged_files() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), &key(1, 1));
        for text in [key(2, 2), "no key".to_owned(), String::new()] {
            store.replace(&text);
            assert_eq!(store.current().reveal(), key(1, 1), "{text}");
        }
        fs::write(path(&store), b"{").unwrap();
        assert_eq!(open(dir.path(), &key(1, 1)).current().reveal(), key(1, 1));
    }
}
