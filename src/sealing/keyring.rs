//! The keyring: one 256-bit key per principal, made when their first event is sealed.
//!
//! In: a principal. Out: their key, from memory or unwrapped from the store. A missing key is an error that stops the
//! reader; that a person was erased is something that only the log can say.

use std::sync::Arc;

use aws_lc_rs::rand;
use bytes::Bytes;
use dockhost_domain::ids::PrincipalId;
use dockhost_domain::subject::{ClaimId, ClaimKind};
use moka::sync::Cache;
use uuid::Uuid;

use super::cipher::{Cipher, KEY_BYTES};
use super::claims::ClaimHasher;
use super::master::MasterKey;
use super::store::{Cause, KeyStore};

/// Opened keys that are kept in memory; one takes well below a kilobyte.
const CACHED_KEYS: u64 = 100_000;
/// The name under which a known text is stored, wrapped: it tells a wrong master key from the right one.
const CHECK: &str = "check";
const CHECK_TEXT: &[u8] = b"dockhost";
/// The name of the claims' key.
const CLAIMS: &str = "claims";

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The store can't be reached or does not answer.
    #[error("the key store is unavailable")]
    Unavailable(#[source] Cause),
    /// There is no key of this principal, although something is sealed under it.
    #[error("the key of {0} is missing")]
    Missing(PrincipalId),
    /// What is stored does not open, although the master key is right.
    #[error("the stored key {0:?} is damaged")]
    Damaged(String),
    /// The stored keys were wrapped by another master key.
    #[error("DOCKHOST_MASTER_KEY is not the key that wraps the stored keys; start with the one that made this log")]
    WrongMasterKey,
    /// The log holds events, but the store holds no keys.
    #[error("the log holds events but the bucket KEYS is empty; restore the bucket that belongs to this log")]
    Lost,
    /// The library's random generator failed.
    #[error("no random bytes could be had")]
    NoRandomness,
}

/// Whether the log may still get its first keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogAge {
    /// It holds no event: keys are made.
    Empty,
    /// It holds events, so that its keys must exist: new ones would free every claimed name.
    InUse,
}

/// The keys of all principals, and the key of the claims.
pub struct Keyring {
    store: Arc<dyn KeyStore>,
    master: MasterKey,
    ciphers: Cache<PrincipalId, Arc<Cipher>>,
    claims: ClaimHasher,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring")
    }
}

impl Keyring {
    /// Checks the master key against the store and reads the claims' key; on an empty log makes both.
    ///
    /// # Errors
    /// [`KeyError::WrongMasterKey`], [`KeyError::Lost`], [`KeyError::Unavailable`].
    pub async fn open(store: Arc<dyn KeyStore>, master: MasterKey, age: LogAge) -> Result<Self, KeyError> {
        let founding = async |name: &str, new: &[u8]| match age {
            LogAge::Empty => create(&*store, &master, name, new).await,
            LogAge::InUse => store.get(name).await.map_err(KeyError::Unavailable)?.ok_or(KeyError::Lost),
        };
        let check = founding(CHECK, CHECK_TEXT).await?;
        if master.unwrap_key(CHECK, &check).is_none_or(|text| text != CHECK_TEXT) {
            return Err(KeyError::WrongMasterKey);
        }
        let claims = founding(CLAIMS, &fresh_key()?).await?;
        let claims = master.unwrap_key(CLAIMS, &claims).ok_or_else(|| KeyError::Damaged(CLAIMS.to_owned()))?;
        Ok(Self { claims: ClaimHasher::new(&claims), ciphers: Cache::new(CACHED_KEYS), store, master })
    }

    /// The principal's key, made if there is none yet. It is stored before this returns, so that no event is ever
    /// sealed under a key that can be lost.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`], [`KeyError::Damaged`], [`KeyError::NoRandomness`].
    pub async fn for_sealing(&self, principal: PrincipalId) -> Result<Arc<Cipher>, KeyError> {
        match self.for_opening(principal).await {
            Err(KeyError::Missing(_)) => {
                let name = principal.to_string();
                let stored = create(&*self.store, &self.master, &name, &fresh_key()?).await?;
                self.remember(principal, &name, &stored)
            }
            found => found,
        }
    }

    /// The principal's key.
    ///
    /// # Errors
    /// [`KeyError::Missing`], [`KeyError::Unavailable`], [`KeyError::Damaged`].
    pub async fn for_opening(&self, principal: PrincipalId) -> Result<Arc<Cipher>, KeyError> {
        if let Some(cipher) = self.ciphers.get(&principal) {
            return Ok(cipher);
        }
        let name = principal.to_string();
        let stored = self.store.get(&name).await.map_err(KeyError::Unavailable)?;
        self.remember(principal, &name, &stored.ok_or(KeyError::Missing(principal))?)
    }

    /// The claim of a name; see [`ClaimHasher::claim`].
    #[must_use]
    pub fn claim(&self, kind: ClaimKind, name: &str) -> ClaimId {
        self.claims.claim(kind, name)
    }

    /// An id made of a request's own words; see [`ClaimHasher::derived_id`].
    #[must_use]
    pub fn derived_id(&self, words: [&str; 3]) -> Uuid {
        self.claims.derived_id(words)
    }

    fn remember(&self, principal: PrincipalId, name: &str, stored: &[u8]) -> Result<Arc<Cipher>, KeyError> {
        let cipher = self
            .master
            .unwrap_key(name, stored)
            .and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok())
            .and_then(|bytes| Cipher::new(&bytes))
            .map(Arc::new)
            .ok_or_else(|| KeyError::Damaged(name.to_owned()))?;
        self.ciphers.insert(principal, Arc::clone(&cipher));
        Ok(cipher)
    }
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
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use uuid::Uuid;

    use super::super::store::MemoryKeys;
    use super::*;

    fn master(byte: u8) -> MasterKey {
        STANDARD.encode([byte; 32]).parse().unwrap()
    }

    fn principal() -> PrincipalId {
        PrincipalId::from_uuid(Uuid::from_u128(1))
    }

    #[tokio::test]
    async fn two_replicas_agree_on_every_key() {
        let store = Arc::new(MemoryKeys::default());
        let a = Keyring::open(store.clone(), master(1), LogAge::Empty).await.unwrap();
        let b = Keyring::open(store.clone(), master(1), LogAge::Empty).await.unwrap();
        assert_eq!(a.claim(ClaimKind::Username, "ada"), b.claim(ClaimKind::Username, "ada"));
        let sealed = a.for_sealing(principal()).await.unwrap().seal(b"", b"x".to_vec()).unwrap();
        assert_eq!(b.for_sealing(principal()).await.unwrap().open(b"", &sealed).unwrap(), b"x");
        let later = Keyring::open(store, master(1), LogAge::InUse).await.unwrap();
        assert_eq!(later.for_opening(principal()).await.unwrap().open(b"", &sealed).unwrap(), b"x");
    }

    #[tokio::test]
    async fn a_wrong_master_key_and_lost_keys_refuse_to_start() {
        let store = Arc::new(MemoryKeys::default());
        Keyring::open(store.clone(), master(1), LogAge::Empty).await.unwrap();
        let wrong = Keyring::open(store, master(2), LogAge::InUse).await.unwrap_err();
        assert!(matches!(wrong, KeyError::WrongMasterKey), "{wrong:?}");
        let lost = Keyring::open(Arc::new(MemoryKeys::default()), master(1), LogAge::InUse).await.unwrap_err();
        assert!(matches!(lost, KeyError::Lost), "{lost:?}");
    }

    #[tokio::test]
    async fn a_missing_key_is_an_error_and_is_not_made_by_opening() {
        let store = Arc::new(MemoryKeys::default());
        let keyring = Keyring::open(store, master(1), LogAge::Empty).await.unwrap();
        for _ in 0..2 {
            let missing = keyring.for_opening(principal()).await.unwrap_err();
            assert!(matches!(missing, KeyError::Missing(id) if id == principal()), "{missing:?}");
        }
    }
}
