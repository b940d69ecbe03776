//! Every secret that the server and the broker need, made once and kept beside the data.
//!
//! In: a data directory. Out: [`GeneratedSecrets`], the same ones at each start, as environment variables for the server, and
//! for `nats.conf` the public keys alone: the broker never sees a private one. Whoever can read the file can do
//! anything; it is made readable by its owner only, and written to its place in one step.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nkeys::KeyPair;
use rand::RngCore;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::common::clock;

/// The secrets of one installation. `Debug` shows none.
#[derive(Debug, Clone)]
pub struct GeneratedSecrets {
    user_access_token: SecretString,
    backend_access_token: SecretString,
    master_key: SecretString,
    /// The nkey seed by which the server signs in to the broker.
    pub nats: SecretString,
    /// The nkey seed of the broker's system account.
    pub nats_system: SecretString,
    /// The nkey seed of the account that signs what the broker's door lets in.
    pub callout: SecretString,
}

/// The secrets can't be read or stored.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file can't be read or written.
    #[error("{} can't be used", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{} is damaged; it holds the keys to the data beside it, so restore it, or start clean without both", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A seed could not be made or read.
    #[error("a broker key is no good")]
    Key(#[from] nkeys::error::Error),
}

/// The file: names as in the environment.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct SecretsFile {
    user_access_token_secret: String,
    backend_access_token_secret: String,
    dockhost_master_key: String,
    dockhost_nats_creds: String,
    dockhost_nats_sys_creds: String,
    dockhost_callout_seed: String,
}

impl GeneratedSecrets {
    /// Fresh ones, kept nowhere.
    ///
    /// # Errors
    /// [`SecretsError::Key`], if no seed can be made.
    pub fn generate() -> Result<Self, SecretsError> {
        Ok(SecretsFile::generate()?.into())
    }

    /// Those of `<data>/secrets.json`, made now if there are none.
    ///
    /// # Errors
    /// [`SecretsError`]; a damaged file is never replaced, for what it sealed would be lost.
    pub fn load_or_generate(data: &Path) -> Result<Self, SecretsError> {
        let path = data.join("secrets.json");
        let io = |source| SecretsError::Io { path: path.clone(), source };
        fs::create_dir_all(data).map_err(io)?;
        if !path.exists() {
            let scratch = data.join(format!("secrets-{}.tmp", clock::fresh_uuid()));
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&scratch).map_err(io)?;
            let text = serde_json::to_vec_pretty(&SecretsFile::generate()?)
                .map_err(|source| SecretsError::Damaged { path: path.clone(), source })?;
            let written = file.write_all(&text).and_then(|()| file.sync_all());
            // A link fails where a rename would replace: of two processes, one wins and both read the winner's.
            let linked = written.and_then(|()| match fs::hard_link(&scratch, &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                other => other,
            });
            linked.and(fs::remove_file(&scratch)).map_err(io)?;
        }
        let text = fs::read(&path).map_err(io)?;
        let file: SecretsFile =
            serde_json::from_slice(&text).map_err(|source| SecretsError::Damaged { path: path.clone(), source })?;
        Ok(file.into())
    }

    /// What the server wants in its environment.
    #[must_use]
    pub fn server_env(&self) -> Vec<(&'static str, String)> {
        [
            ("USER_ACCESS_TOKEN_SECRET", &self.user_access_token),
            ("BACKEND_ACCESS_TOKEN_SECRET", &self.backend_access_token),
            ("DOCKHOST_MASTER_KEY", &self.master_key),
            ("DOCKHOST_NATS_CREDS", &self.nats),
            ("DOCKHOST_NATS_SYS_CREDS", &self.nats_system),
            ("DOCKHOST_CALLOUT_SEED", &self.callout),
        ]
        .map(|(name, secret)| (name, secret.expose_secret().to_owned()))
        .into()
    }

    /// What `nats.conf` wants in the broker's environment: public keys.
    ///
    /// # Errors
    /// [`SecretsError::Key`], if a seed is none.
    pub fn broker_env(&self) -> Result<Vec<(&'static str, String)>, SecretsError> {
        [
            ("DOCKHOST_NATS_KEY", &self.nats),
            ("DOCKHOST_NATS_SYS_KEY", &self.nats_system),
            ("DOCKHOST_CALLOUT_KEY", &self.callout),
        ]
        .into_iter()
        .map(|(name, seed)| Ok((name, KeyPair::from_seed(seed.expose_secret())?.public_key())))
        .collect()
    }
}

/// Writes a file that only its owner can read; fails if it exists.
///
/// # Errors
/// The system's.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

impl SecretsFile {
    fn generate() -> Result<Self, SecretsError> {
        Ok(Self {
            user_access_token_secret: random(),
            backend_access_token_secret: random(),
            dockhost_master_key: random(),
            dockhost_nats_creds: KeyPair::new_user().seed()?,
            dockhost_nats_sys_creds: KeyPair::new_user().seed()?,
            dockhost_callout_seed: KeyPair::new_account().seed()?,
        })
    }
}

impl From<SecretsFile> for GeneratedSecrets {
    fn from(file: SecretsFile) -> Self {
        Self {
            user_access_token: file.user_access_token_secret.into(),
            backend_access_token: file.backend_access_token_secret.into(),
            master_key: file.dockhost_master_key.into(),
            nats: file.dockhost_nats_creds.into(),
            nats_system: file.dockhost_nats_sys_creds.into(),
            callout: file.dockhost_callout_seed.into(),
        }
    }
}

/// 32 random bytes, in base64.
fn random() -> String {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_are_made_once_and_are_for_their_owner_alone() {
        let data = tempfile::tempdir().unwrap();
        let made = GeneratedSecrets::load_or_generate(data.path()).unwrap();
        assert_eq!(GeneratedSecrets::load_or_generate(data.path()).unwrap().server_env(), made.server_env());
        let files: Vec<_> = fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files, [data.path().join("secrets.json")]);
        assert_eq!(fs::metadata(&files[0]).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_broker_gets_public_keys_only() {
        let secrets = GeneratedSecrets::generate().unwrap();
        for (name, key) in secrets.broker_env().unwrap() {
            assert!(key.starts_with(if name == "DOCKHOST_CALLOUT_KEY" { 'A' } else { 'U' }), "{name}={key}");
        }
        let shown = format!("{secrets:?}");
        assert!(secrets.server_env().iter().all(|(_, secret)| !shown.contains(secret)), "{shown}");
    }

    #[test]
    fn a_damaged_file_is_not_replaced() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("secrets.json"), "{").unwrap();
        assert!(matches!(GeneratedSecrets::load_or_generate(data.path()), Err(SecretsError::Damaged { .. })));
        assert_eq!(fs::read_to_string(data.path().join("secrets.json")).unwrap(), "{");
    }
}
