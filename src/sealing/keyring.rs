//! The keyring: one 256-bit key per principal, made when their first event is sealed.
//!
//! In: a principal. Out: their key, from memory or unwrapped from the store. A missing key is an error that stops the
//! reader, unless the log says that the person was erased: it is asked only when a key is missing, and its yes is
//! remembered. Of a person who is being erased no key is kept in memory any more: it is read anew for each use until it
//! is destroyed, so that from then on no replica can open anything. Who is about to read the whole log has the keys
//! gathered first; the same holds for those.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use bytes::Bytes;
use dockhost_domain::ids::PrincipalId;
use dockhost_domain::subject::{ClaimId, ClaimKind};
use moka::sync::Cache;
use uuid::Uuid;

use super::cipher::{Cipher, KEY_BYTES};
use super::claims::ClaimHasher;
use super::master::MasterKey;
use super::store::{ErasureLookup, KeyStore, NoErasures};
use crate::common::error::Cause;

/// Opened keys that are kept in memory; one takes well below a kilobyte.
const MAX_CACHED_KEYS: u64 = 100_000;
/// A key stays in memory for so long at most: a replica that began between a person's erasure and the end of their key
/// may have taken it for any other.
const CACHED_KEY_TTL: Duration = Duration::from_secs(60 * 60);
/// The name under which a known text is stored, wrapped: it tells a wrong master key from the right one.
const CHECK_NAME: &str = "check";
const CHECK_TEXT: &[u8] = b"dockhost";
/// The name of the claims' key.
const CLAIMS_KEY_NAME: &str = "claims";

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The store can't be reached or does not answer.
    #[error("the key store is unavailable")]
    Unavailable(#[source] Cause),
    /// There is no key of this principal, although something is sealed under it.
    #[error("the key of {0} is missing")]
    Missing(PrincipalId),
    /// The person was erased: there is no key of theirs any more, and there never will be.
    #[error("{0} was erased")]
    Erased(PrincipalId),
    /// The key of somebody whom the log does not call erased is not destroyed.
    #[error("{0} was not erased")]
    NotErased(PrincipalId),
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

/// How far the erasure of a person is, as far as is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ErasureState {
    /// The log says so; the key may still be there.
    Announced,
    /// And the key is gone.
    Done,
}

/// The keys of all principals, and the key of the claims.
pub struct Keyring {
    store: Arc<dyn KeyStore>,
    master: MasterKey,
    erasures: Arc<dyn ErasureLookup>,
    ciphers: Cache<PrincipalId, Arc<Cipher>>,
    erased: Cache<PrincipalId, ErasureState>,
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
        let read_or_create = async |name: &str, new: &[u8]| match age {
            LogAge::Empty => create(&*store, &master, name, new).await,
            LogAge::InUse => store.get(name).await.map_err(KeyError::Unavailable)?.ok_or(KeyError::Lost),
        };
        let check = read_or_create(CHECK_NAME, CHECK_TEXT).await?;
        if master.unwrap_key(CHECK_NAME, &check).is_none_or(|text| text != CHECK_TEXT) {
            return Err(KeyError::WrongMasterKey);
        }
        let claims = read_or_create(CLAIMS_KEY_NAME, &fresh_key()?).await?;
        let claims =
            master.unwrap_key(CLAIMS_KEY_NAME, &claims).ok_or_else(|| KeyError::Damaged(CLAIMS_KEY_NAME.to_owned()))?;
        Ok(Self {
            claims: ClaimHasher::new(&claims),
            ciphers: Cache::builder().max_capacity(MAX_CACHED_KEYS).time_to_live(CACHED_KEY_TTL).build(),
            erased: Cache::new(MAX_CACHED_KEYS),
            erasures: Arc::new(NoErasures),
            store,
            master,
        })
    }

    /// Asks here whether somebody was erased. Without it nobody ever was.
    #[must_use]
    pub fn with_erasures(self, erasures: Arc<dyn ErasureLookup>) -> Self {
        Self { erasures, ..self }
    }

    /// The principal's key, made if there is none yet. It is stored before this returns, so that no event is ever
    /// sealed under a key that can be lost.
    ///
    /// # Errors
    /// [`KeyError::Erased`], [`KeyError::Unavailable`], [`KeyError::Damaged`], [`KeyError::NoRandomness`].
    pub async fn for_sealing(&self, principal: PrincipalId) -> Result<Arc<Cipher>, KeyError> {
        match self.for_opening(principal).await {
            Err(KeyError::Missing(_)) => {
                let name = principal.to_string();
                let stored = create(&*self.store, &self.master, &name, &fresh_key()?).await?;
                self.unwrap_and_cache(principal, &name, &stored)
            }
            found => found,
        }
    }

    /// The principal's key.
    ///
    /// # Errors
    /// [`KeyError::Erased`], [`KeyError::Missing`], [`KeyError::Unavailable`], [`KeyError::Damaged`].
    pub async fn for_opening(&self, principal: PrincipalId) -> Result<Arc<Cipher>, KeyError> {
        if let Some(cipher) = self.ciphers.get(&principal) {
            return Ok(cipher);
        }
        if self.erased.get(&principal) == Some(ErasureState::Done) {
            return Err(KeyError::Erased(principal));
        }
        let name = principal.to_string();
        if let Some(stored) = self.store.get(&name).await.map_err(KeyError::Unavailable)? {
            return self.unwrap_and_cache(principal, &name, &stored);
        }
        if !self.is_erased(principal).await? {
            return Err(KeyError::Missing(principal));
        }
        self.erased.insert(principal, ErasureState::Done);
        Err(KeyError::Erased(principal))
    }

    /// Gets ready for a reading of the whole log, which needs most keys: asking for each by itself would cost more than
    /// the reading. They are kept like any that were asked for, so what is read of an erasure takes them away again.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`]; then each is asked for when it is needed.
    pub async fn preload(&self) -> Result<(), KeyError> {
        let limit = usize::try_from(MAX_CACHED_KEYS).unwrap_or(usize::MAX);
        for (name, stored) in self.store.get_many(limit).await.map_err(KeyError::Unavailable)? {
            if let Ok(principal) = name.parse() {
                // One that is damaged stops who needs it, and nobody else.
                let _ = self.unwrap_and_cache(principal, &name, &stored);
            }
        }
        Ok(())
    }

    /// Whether the log says that this person was erased.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`].
    pub async fn is_erased(&self, principal: PrincipalId) -> Result<bool, KeyError> {
        if self.erased.contains_key(&principal) {
            return Ok(true);
        }
        self.erasures.is_erased(principal).await.map_err(KeyError::Unavailable)
    }

    /// The log was just read to say that this person was erased: their key is kept in memory no longer.
    pub fn mark_erased(&self, principal: PrincipalId) {
        if self.erased.get(&principal).is_none() {
            self.erased.insert(principal, ErasureState::Announced);
        }
        self.ciphers.invalidate(&principal);
    }

    /// Whether there is a key of this principal in the store now.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`].
    pub async fn has_key(&self, principal: PrincipalId) -> Result<bool, KeyError> {
        Ok(self.store.get(&principal.to_string()).await.map_err(KeyError::Unavailable)?.is_some())
    }

    /// Destroys an erased person's key, so that its bytes are overwritten. Fine if it is gone.
    ///
    /// # Errors
    /// [`KeyError::NotErased`] if the log does not call them erased; [`KeyError::Unavailable`].
    pub async fn destroy(&self, principal: PrincipalId) -> Result<(), KeyError> {
        // Asked of the log itself: what is remembered is not enough to do what can't be undone.
        if !self.erasures.is_erased(principal).await.map_err(KeyError::Unavailable)? {
            return Err(KeyError::NotErased(principal));
        }
        self.store.destroy(&principal.to_string()).await.map_err(KeyError::Unavailable)?;
        self.erased.insert(principal, ErasureState::Done);
        self.ciphers.invalidate(&principal);
        Ok(())
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

    /// What stands for these words and tells nothing of them; see [`ClaimHasher::keyed_hash`].
    #[must_use]
    pub fn keyed_hash(&self, words: [&str; 3]) -> String {
        self.claims.keyed_hash(words)
    }

    fn unwrap_and_cache(&self, principal: PrincipalId, name: &str, stored: &[u8]) -> Result<Arc<Cipher>, KeyError> {
        let cipher = self
            .master
            .unwrap_key(name, stored)
            .and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok())
            .and_then(|bytes| Cipher::new(&bytes))
            .map(Arc::new)
            .ok_or_else(|| KeyError::Damaged(name.to_owned()))?;
        if !self.erased.contains_key(&principal) {
            self.ciphers.insert(principal, Arc::clone(&cipher));
        }
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

    use super::super::store::{MemoryErasures, MemoryKeyStore};
    use super::*;

    fn master(byte: u8) -> MasterKey {
        STANDARD.encode([byte; 32]).parse().unwrap()
    }

    fn principal() -> PrincipalId {
        PrincipalId::from_uuid(Uuid::from_u128(1))
    }

    #[tokio::test]
    async fn two_replicas_agree_on_every_key() {
        let store = Arc::new(MemoryKeyStore::default());
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
        let store = Arc::new(MemoryKeyStore::default());
        Keyring::open(store.clone(), master(1), LogAge::Empty).await.unwrap();
        let wrong = Keyring::open(store, master(2), LogAge::InUse).await.unwrap_err();
        assert!(matches!(wrong, KeyError::WrongMasterKey), "{wrong:?}");
        let lost = Keyring::open(Arc::new(MemoryKeyStore::default()), master(1), LogAge::InUse).await.unwrap_err();
        assert!(matches!(lost, KeyError::Lost), "{lost:?}");
    }

    #[tokio::test]
    async fn a_missing_key_is_an_error_and_is_not_made_by_opening() {
        let store = Arc::new(MemoryKeyStore::default());
        let keyring = Keyring::open(store, master(1), LogAge::Empty).await.unwrap();
        for _ in 0..2 {
            let missing = keyring.for_opening(principal()).await.unwrap_err();
            assert!(matches!(missing, KeyError::Missing(id) if id == principal()), "{missing:?}");
        }
    }

    #[tokio::test]
    async fn gathered_keys_are_kept_like_those_that_were_asked_for() {
        let (store, erasures) = (Arc::new(MemoryKeyStore::default()), Arc::new(MemoryErasures::default()));
        let a = Keyring::open(store.clone(), master(1), LogAge::Empty).await.unwrap();
        let sealed = a.for_sealing(principal()).await.unwrap().seal(b"", b"x".to_vec()).unwrap();
        let open = async || Keyring::open(store.clone(), master(1), LogAge::InUse).await.unwrap();
        let (b, c) = (open().await.with_erasures(erasures.clone()), open().await);
        c.mark_erased(principal());
        b.preload().await.unwrap();
        c.preload().await.unwrap();
        store.lose(&principal().to_string());
        // It asks for nothing any more, unless the person is being erased: then nothing was kept.
        assert_eq!(b.for_opening(principal()).await.unwrap().open(b"", &sealed).unwrap(), b"x");
        let asked = c.for_opening(principal()).await.unwrap_err();
        assert!(matches!(asked, KeyError::Erased(_)), "{asked:?}");
        // And what is read of an erasure takes it away.
        erasures.erase(principal());
        b.mark_erased(principal());
        let gone = b.for_opening(principal()).await.unwrap_err();
        assert!(matches!(gone, KeyError::Erased(_)), "{gone:?}");
    }

    #[tokio::test]
    async fn a_key_is_destroyed_only_if_the_log_says_so_and_then_everywhere() {
        let (store, erasures) = (Arc::new(MemoryKeyStore::default()), Arc::new(MemoryErasures::default()));
        let a = Keyring::open(store.clone(), master(1), LogAge::Empty).await.unwrap().with_erasures(erasures.clone());
        let b = Keyring::open(store.clone(), master(1), LogAge::Empty).await.unwrap().with_erasures(erasures.clone());
        let sealed = a.for_sealing(principal()).await.unwrap().seal(b"", b"x".to_vec()).unwrap();
        b.for_opening(principal()).await.unwrap();
        let refused = a.destroy(principal()).await.unwrap_err();
        assert!(matches!(refused, KeyError::NotErased(id) if id == principal()), "{refused:?}");
        assert!(a.has_key(principal()).await.unwrap());

        erasures.erase(principal());
        for keyring in [&a, &b] {
            keyring.mark_erased(principal());
            // It may be needed until the end, and is had until then.
            assert_eq!(keyring.for_opening(principal()).await.unwrap().open(b"", &sealed).unwrap(), b"x");
        }
        for _ in 0..2 {
            a.destroy(principal()).await.unwrap();
        }
        for keyring in [&a, &b] {
            for _ in 0..2 {
                let gone = keyring.for_opening(principal()).await.unwrap_err();
                assert!(matches!(gone, KeyError::Erased(id) if id == principal()), "{gone:?}");
                let gone = keyring.for_sealing(principal()).await.unwrap_err();
                assert!(matches!(gone, KeyError::Erased(_)), "no new key is made: {gone:?}");
            }
        }
        assert!(!b.has_key(principal()).await.unwrap());
    }
}
