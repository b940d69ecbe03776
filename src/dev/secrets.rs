//! Generates the secrets that the server and the broker need, and stores them beside the data.
//!
//! The file gives full access to the installation, so only its owner can read it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nkeys::KeyPair;
use rand::RngCore;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::common::clock;

/// The secrets of one installation. `Debug` hides them.
#[derive(Debug, Clone)]
pub struct GeneratedSecrets {
    user_access_token: SecretString,
    backend_access_token: SecretString,
    master_key: SecretString,
    /// The nkey seed of the server's user at the broker.
    pub nats: SecretString,
    /// The nkey seed of the broker's system account.
    pub nats_system: SecretString,
    /// The nkey seed that signs the broker's permissions for backends.
    pub callout: SecretString,
}

/// Why the secrets can't be read or stored.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file can't be read or written.
    #[error("{} can't be read or written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The file is damaged.
    #[error("{} is damaged; the data beside it can't be read without it. Restore the file, or delete it together with the data", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A seed can't be generated or read.
    #[error("a broker key is invalid")]
    Key(#[from] nkeys::error::Error),
}

/// The file; its members are named like the environment variables.
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
    /// Generates secrets without storing them.
    ///
    /// # Errors
    /// [`SecretsError::Key`] if a seed can't be generated.
    pub fn generate() -> Result<Self, SecretsError> {
        Ok(SecretsFile::generate()?.into())
    }

    /// Reads `<data>/secrets.json`; generates the file if there is none.
    ///
    /// # Errors
    /// [`SecretsError`]. A damaged file is not replaced: the data that its keys sealed would be lost.
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
            // Unlike a rename, a link does not replace a file: if two processes do this at once, both use the first file.
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

    /// The environment variables of the server.
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

    /// The secret that registering a backend requires.
    #[must_use]
    pub fn enrolment(&self) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.backend_access_token.expose_secret().as_bytes());
        const_hex::encode(&hmac::sign(&key, b"enrolment").as_ref()[..16])
    }

    /// The environment variables of the broker for `nats.conf`: public keys.
    ///
    /// # Errors
    /// [`SecretsError::Key`] if a seed is invalid.
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

/// The environment variables of the database in `docker-compose.yml`, with new values: the password of the server's user
/// and the key that its members share.
#[must_use]
pub fn database_env() -> [(&'static str, String); 2] {
    // Hexadecimal, so that the password needs no escapes in a URI.
    let random = || {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        const_hex::encode(bytes)
    };
    [("DOCKHOST_MONGODB_PASSWORD", random()), ("DOCKHOST_MONGODB_KEY", random())]
}

/// The file of the data directory that has the administrator's password.
pub const ADMIN_PASSWORD_FILE: &str = "admin-password";

/// The password of the administrator that `dockhost dev` makes; generated at the first start.
///
/// # Errors
/// [`SecretsError::Io`].
pub fn admin_password(data: &Path) -> Result<SecretString, SecretsError> {
    let path = data.join(ADMIN_PASSWORD_FILE);
    let io = |source| SecretsError::Io { path: path.clone(), source };
    if !path.exists() {
        let mut bytes = [0; 16];
        rand::rng().fill_bytes(&mut bytes);
        write_private(&path, &(const_hex::encode(bytes) + "\n")).map_err(io)?;
    }
    Ok(fs::read_to_string(&path).map_err(io)?.trim().into())
}

/// Writes a new file that only its owner can read.
///
/// # Errors
/// The file exists or can't be written.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Writes a file that only its owner can read, in place of an existing one.
///
/// # Errors
/// The file can't be written.
pub fn replace_private(path: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_private(path, text)
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
    fn load_or_generate_twice_returns_the_same_secrets_in_a_private_file() {
        let data = tempfile::tempdir().unwrap();
        let made = GeneratedSecrets::load_or_generate(data.path()).unwrap();
        assert_eq!(GeneratedSecrets::load_or_generate(data.path()).unwrap().server_env(), made.server_env());
        let files: Vec<_> = fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files, [data.path().join("secrets.json")]);
        assert_eq!(fs::metadata(&files[0]).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn admin_password_is_generated_once_in_a_private_file() {
        let data = tempfile::tempdir().unwrap();
        let made = admin_password(data.path()).unwrap();
        assert_eq!(made.expose_secret().len(), 32);
        assert_eq!(admin_password(data.path()).unwrap().expose_secret(), made.expose_secret());
        let mode = fs::metadata(data.path().join(ADMIN_PASSWORD_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn broker_env_has_public_keys_only() {
        let secrets = GeneratedSecrets::generate().unwrap();
        for (name, key) in secrets.broker_env().unwrap() {
            assert!(key.starts_with(if name == "DOCKHOST_CALLOUT_KEY" { 'A' } else { 'U' }), "{name}={key}");
        }
        let shown = format!("{secrets:?}");
        assert!(secrets.server_env().iter().all(|(_, secret)| !shown.contains(secret)), "{shown}");
    }

    #[test]
    fn load_or_generate_damaged_file_is_not_replaced() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("secrets.json"), "{").unwrap();
        assert!(matches!(GeneratedSecrets::load_or_generate(data.path()), Err(SecretsError::Damaged { .. })));
        assert_eq!(fs::read_to_string(data.path().join("secrets.json")).unwrap(), "{");
    }
}
