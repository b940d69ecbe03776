//! The keyring: one 256-bit key per principal, created when the principal's first event is sealed.
//!
//! A missing key is an error, unless the log says that the principal was erased. The keyring counts the principals whose
//! keys are lost: a few are an accident that concerns them alone; many mean that the store is not the one that belongs
//! to this log. Once an erasure is known, the
//! principal's key is no longer cached but read from the store for each use, until it is destroyed; from then on no
//! replica can open the principal's values.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand;
use bytes::Bytes;
use dockhost_domain::idempotency::RequestHash;
use dockhost_domain::ids::PrincipalId;
use dockhost_domain::subject::{ClaimId, ClaimKind};
use moka::sync::Cache;
use tokio::time::Instant;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::cipher::{Cipher, KEY_BYTES};
use super::claims::ClaimHasher;
use super::master::MasterKey;
use super::store::{ErasureLookup, KeyStore, NoErasures};
use crate::common::error::{Cause, chain};
use crate::common::retry::{STARTUP_DEADLINE, until_deadline};

/// Unwrapped keys in memory; each takes well below a kilobyte.
const MAX_CACHED_KEYS: u64 = 100_000;
/// How long a key stays in memory. A replica that starts between an erasure and the end of the key may have cached the
/// key without knowing of the erasure; this bounds how long it can still open the values.
const CACHED_KEY_TTL: Duration = Duration::from_secs(60 * 60);
/// The name of a known text that is stored wrapped, to tell a wrong master key from the right one.
const CHECK_NAME: &str = "check";
const CHECK_TEXT: &[u8] = b"dockhost";
/// The name of the claims' key.
const CLAIMS_KEY_NAME: &str = "claims";

/// Why a key is not available.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The store can't be reached or does not answer.
    #[error("the key store is unavailable")]
    Unavailable(#[source] Cause),
    /// The store has no key of this principal, although values are sealed under it.
    #[error("the key of {0} is missing")]
    Missing(PrincipalId),
    /// The principal was erased: its key is gone and none is ever created again.
    #[error("{0} was erased")]
    Erased(PrincipalId),
    /// A key is destroyed only after the log says that its principal was erased.
    #[error("{0} was not erased")]
    NotErased(PrincipalId),
    /// The stored key does not unwrap, although the master key is right.
    #[error("the stored key {0:?} is damaged")]
    Damaged(String),
    /// The stored keys were wrapped by another master key.
    #[error(
        "DOCKHOST_MASTER_KEY is not the key that wraps the stored keys; use the one that this log was created with"
    )]
    WrongMasterKey,
    /// The log holds events, but the store holds no keys.
    #[error("the log holds events but the bucket KEYS is empty; restore the bucket that belongs to this log")]
    Lost,
    /// The library's random generator failed.
    #[error("the random generator failed")]
    NoRandomness,
}

/// Whether the log may still get its first keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogAge {
    /// The log holds no event: missing keys are created.
    Empty,
    /// The log holds events, so its keys must exist: a new claims' key would free every claimed name.
    InUse,
}

/// The most principals whose lost keys concern them alone.
const MAX_LOST_KEYS: usize = 10;

/// How far the erasure of a principal has come, as far as this replica knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ErasureState {
    /// The log holds the erasure; the key may still exist.
    Announced,
    /// The key is destroyed.
    KeyDestroyed,
}

/// The keys of all principals, and the key of the claims.
pub struct Keyring {
    store: Arc<dyn KeyStore>,
    master: MasterKey,
    erasures: Arc<dyn ErasureLookup>,
    ciphers: Cache<PrincipalId, Arc<Cipher>>,
    erased: Cache<PrincipalId, ErasureState>,
    /// At most [`MAX_LOST_KEYS`].
    lost: Mutex<BTreeSet<PrincipalId>>,
    claims: ClaimHasher,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring")
    }
}

impl Keyring {
    /// Checks the master key against the store and reads the claims' key; on an empty log creates what is missing.
    ///
    /// # Errors
    /// [`KeyError::WrongMasterKey`], [`KeyError::Lost`], [`KeyError::Unavailable`] after [`STARTUP_DEADLINE`].
    pub async fn open(store: Arc<dyn KeyStore>, master: MasterKey, age: LogAge) -> Result<Self, KeyError> {
        // While a cluster elects, it does not answer.
        let deadline = Instant::now() + STARTUP_DEADLINE;
        let transient_cause = |error: &KeyError| matches!(error, KeyError::Unavailable(_)).then(|| chain(error));
        let read_or_create = async |name: &str, new: &[u8]| {
            let attempt = || async {
                match age {
                    LogAge::Empty => create(&*store, &master, name, new).await,
                    LogAge::InUse => store.get(name).await.map_err(KeyError::Unavailable)?.ok_or(KeyError::Lost),
                }
            };
            until_deadline("the key store", deadline, transient_cause, attempt).await
        };
        verify_check(&master, &read_or_create(CHECK_NAME, CHECK_TEXT).await?)?;
        let claims = unwrap_claims_key(&master, &read_or_create(CLAIMS_KEY_NAME, &fresh_key()?).await?)?;
        Ok(Self {
            claims: ClaimHasher::new(&claims),
            ciphers: Cache::builder().max_capacity(MAX_CACHED_KEYS).time_to_live(CACHED_KEY_TTL).build(),
            erased: Cache::new(MAX_CACHED_KEYS),
            lost: Mutex::default(),
            erasures: Arc::new(NoErasures),
            store,
            master,
        })
    }

    /// Looks up erasures here. Without this, no principal counts as erased.
    #[must_use]
    pub fn with_erasures(self, erasures: Arc<dyn ErasureLookup>) -> Self {
        Self { erasures, ..self }
    }

    /// The principal's key, created if there is none. It is stored before this returns, so that no event is sealed
    /// under a key that can be lost. A lost key is not replaced, because it may be restored.
    ///
    /// # Errors
    /// [`KeyError::Erased`], [`KeyError::Unavailable`], [`KeyError::Missing`] if it is known to be lost,
    /// [`KeyError::Damaged`], [`KeyError::NoRandomness`].
    pub async fn for_sealing(&self, principal: PrincipalId) -> Result<Arc<Cipher>, KeyError> {
        match self.for_opening(principal).await {
            Err(KeyError::Missing(_)) if !self.lost().contains(&principal) => {
                let name = principal.to_string();
                let stored = create(&*self.store, &self.master, &name, &fresh_key()?).await?;
                self.unwrap_and_cache(principal, &name, &stored)
            }
            found => found,
        }
    }

    /// Records that a principal's key is lost although values are sealed under it. `true` while few are: then only these
    /// values are unreadable. `false` if many are: then nothing should be read without the right store.
    pub fn note_lost(&self, principal: PrincipalId) -> bool {
        let mut lost = self.lost();
        if lost.contains(&principal) {
            return true;
        }
        if lost.len() >= MAX_LOST_KEYS {
            return false;
        }
        tracing::error!(%principal, "a key is lost; what is sealed under it can't be read");
        lost.insert(principal)
    }

    fn lost(&self) -> MutexGuard<'_, BTreeSet<PrincipalId>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The principal's key.
    ///
    /// # Errors
    /// [`KeyError::Erased`], [`KeyError::Missing`], [`KeyError::Unavailable`], [`KeyError::Damaged`].
    pub async fn for_opening(&self, principal: PrincipalId) -> Result<Arc<Cipher>, KeyError> {
        if let Some(cipher) = self.ciphers.get(&principal) {
            return Ok(cipher);
        }
        if self.erased.get(&principal) == Some(ErasureState::KeyDestroyed) {
            return Err(KeyError::Erased(principal));
        }
        let name = principal.to_string();
        if let Some(stored) = self.store.get(&name).await.map_err(KeyError::Unavailable)? {
            return self.unwrap_and_cache(principal, &name, &stored);
        }
        if !self.is_erased(principal).await? {
            return Err(KeyError::Missing(principal));
        }
        self.erased.insert(principal, ErasureState::KeyDestroyed);
        Err(KeyError::Erased(principal))
    }

    /// Caches many keys at once before a read of the whole log, for which one lookup per key would take longer than the
    /// read itself.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`]; each key is then looked up on first use.
    pub async fn preload(&self) -> Result<(), KeyError> {
        let limit = usize::try_from(MAX_CACHED_KEYS).unwrap_or(usize::MAX);
        for (name, stored) in self.store.get_many(limit).await.map_err(KeyError::Unavailable)? {
            if let Ok(principal) = name.parse() {
                // A damaged key is reported when it is used.
                let _ = self.unwrap_and_cache(principal, &name, &stored);
            }
        }
        Ok(())
    }

    /// Whether the log holds the erasure of this principal.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`].
    pub async fn is_erased(&self, principal: PrincipalId) -> Result<bool, KeyError> {
        if self.erased.contains_key(&principal) {
            return Ok(true);
        }
        self.erasures.is_erased(principal).await.map_err(KeyError::Unavailable)
    }

    /// Records that the log holds the erasure of this principal, and drops its key from memory.
    pub fn mark_erased(&self, principal: PrincipalId) {
        if self.erased.get(&principal).is_none() {
            self.erased.insert(principal, ErasureState::Announced);
        }
        self.ciphers.invalidate(&principal);
    }

    /// Whether the store holds a key of this principal.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`].
    pub async fn has_key(&self, principal: PrincipalId) -> Result<bool, KeyError> {
        Ok(self.store.get(&principal.to_string()).await.map_err(KeyError::Unavailable)?.is_some())
    }

    /// Destroys an erased principal's key so that its bytes are overwritten. Succeeds if it is gone already.
    ///
    /// # Errors
    /// [`KeyError::NotErased`] if the log holds no erasure; [`KeyError::Unavailable`].
    pub async fn destroy(&self, principal: PrincipalId) -> Result<(), KeyError> {
        // Asks the log, not the cache, because this cannot be undone.
        if !self.erasures.is_erased(principal).await.map_err(KeyError::Unavailable)? {
            return Err(KeyError::NotErased(principal));
        }
        self.store.destroy(&principal.to_string()).await.map_err(KeyError::Unavailable)?;
        self.erased.insert(principal, ErasureState::KeyDestroyed);
        self.ciphers.invalidate(&principal);
        Ok(())
    }

    /// The claim of a name; see [`ClaimHasher::claim`].
    #[must_use]
    pub fn claim(&self, kind: ClaimKind, name: &str) -> ClaimId {
        self.claims.claim(kind, name)
    }

    /// An id derived from values of a request; see [`ClaimHasher::derived_id`].
    #[must_use]
    pub fn derived_id(&self, values: [&str; 3]) -> Uuid {
        self.claims.derived_id(values)
    }

    /// A fingerprint of these values; see [`ClaimHasher::keyed_hash`].
    #[must_use]
    pub fn keyed_hash(&self, values: [&str; 3]) -> String {
        self.claims.keyed_hash(values)
    }

    /// The hash by which an event has a part of a request; see [`ClaimHasher::request_hash`].
    #[must_use]
    pub fn request_hash(&self, values: [&str; 3]) -> RequestHash {
        self.claims.request_hash(values)
    }

    /// A secret derived from values of a request; see [`ClaimHasher::derived_secret`].
    #[must_use]
    pub fn derived_secret(&self, values: [&str; 3]) -> Zeroizing<[u8; 32]> {
        self.claims.derived_secret(values)
    }

    fn unwrap_and_cache(&self, principal: PrincipalId, name: &str, stored: &[u8]) -> Result<Arc<Cipher>, KeyError> {
        let cipher = self
            .master
            .unwrap_key(name, stored)
            .and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok())
            .and_then(|bytes| Cipher::new(&bytes))
            .map(Arc::new)
            .ok_or_else(|| KeyError::Damaged(name.to_owned()))?;
        self.lost().remove(&principal);
        if !self.erased.contains_key(&principal) {
            self.ciphers.insert(principal, Arc::clone(&cipher));
        }
        Ok(cipher)
    }
}

/// Checks that `master` wraps these stored keys, which `stored` looks up by name.
///
/// # Errors
/// [`KeyError::Lost`], [`KeyError::WrongMasterKey`], [`KeyError::Damaged`].
pub fn check_master_key(master: &MasterKey, stored: impl Fn(&str) -> Option<Bytes>) -> Result<(), KeyError> {
    verify_check(master, &stored(CHECK_NAME).ok_or(KeyError::Lost)?)?;
    unwrap_claims_key(master, &stored(CLAIMS_KEY_NAME).ok_or(KeyError::Lost)?).map(drop)
}

fn verify_check(master: &MasterKey, stored: &[u8]) -> Result<(), KeyError> {
    let text = master.unwrap_key(CHECK_NAME, stored).filter(|text| text == CHECK_TEXT);
    text.map(drop).ok_or(KeyError::WrongMasterKey)
}

fn unwrap_claims_key(master: &MasterKey, stored: &[u8]) -> Result<Vec<u8>, KeyError> {
    master.unwrap_key(CLAIMS_KEY_NAME, stored).ok_or_else(|| KeyError::Damaged(CLAIMS_KEY_NAME.to_owned()))
}

async fn create(store: &dyn KeyStore, master: &MasterKey, name: &str, key: &[u8]) -> Result<Bytes, KeyError> {
    let wrapped = master.wrap(name, key).ok_or(KeyError::NoRandomness)?;
    store.get_or_create(name, wrapped.into()).await.map_err(KeyError::Unavailable)
}

fn fresh_key() -> Result<[u8; KEY_BYTES], KeyError> {
    let mut key = [0; KEY_BYTES];
    rand::fill(&mut key).map_err(|_| KeyError::NoRandomness)?;
    Ok(key)
}

#[cfg(test)]
mod tests;
