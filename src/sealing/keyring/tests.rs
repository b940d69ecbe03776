use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use futures::future::BoxFuture;
use uuid::Uuid;

use super::super::memory::{MemoryErasures, MemoryKeyStore};
use super::super::rotation::rotate;
use super::*;

fn master(byte: u8) -> MasterKey {
    STANDARD.encode([byte; 32]).parse().unwrap()
}

fn principal() -> PrincipalId {
    PrincipalId::from_uuid(Uuid::from_u128(1))
}

#[tokio::test]
async fn keyring_of_two_replicas_uses_the_same_keys() {
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
async fn open_with_a_wrong_master_key_or_lost_keys_fails() {
    let store = Arc::new(MemoryKeyStore::default());
    Keyring::open(store.clone(), master(1), LogAge::Empty).await.unwrap();
    let wrong = Keyring::open(store, master(2), LogAge::InUse).await.unwrap_err();
    assert!(matches!(wrong, KeyError::WrongMasterKey), "{wrong:?}");
    let lost = Keyring::open(Arc::new(MemoryKeyStore::default()), master(1), LogAge::InUse).await.unwrap_err();
    assert!(matches!(lost, KeyError::Lost), "{lost:?}");
}

#[tokio::test]
async fn for_opening_missing_key_is_an_error_and_creates_none() {
    let store = Arc::new(MemoryKeyStore::default());
    let keyring = Keyring::open(store, master(1), LogAge::Empty).await.unwrap();
    for _ in 0..2 {
        let missing = keyring.for_opening(principal()).await.unwrap_err();
        assert!(matches!(missing, KeyError::Missing(id) if id == principal()), "{missing:?}");
    }
}

#[tokio::test]
async fn preload_caches_keys_except_those_of_erased_principals() {
    let (store, erasures) = (Arc::new(MemoryKeyStore::default()), Arc::new(MemoryErasures::default()));
    let a = Keyring::open(store.clone(), master(1), LogAge::Empty).await.unwrap();
    let sealed = a.for_sealing(principal()).await.unwrap().seal(b"", b"x".to_vec()).unwrap();
    let open = async || Keyring::open(store.clone(), master(1), LogAge::InUse).await.unwrap();
    let (b, c) = (open().await.with_erasures(erasures.clone()), open().await);
    c.mark_erased(principal());
    b.preload().await.unwrap();
    c.preload().await.unwrap();
    store.lose(&principal().to_string());
    // The cached key is used; of a principal marked as erased none was cached.
    assert_eq!(b.for_opening(principal()).await.unwrap().open(b"", &sealed).unwrap(), b"x");
    let asked = c.for_opening(principal()).await.unwrap_err();
    assert!(matches!(asked, KeyError::Erased(_)), "{asked:?}");
    // Reading an erasure removes the cached key.
    erasures.erase(principal());
    b.mark_erased(principal());
    let gone = b.for_opening(principal()).await.unwrap_err();
    assert!(matches!(gone, KeyError::Erased(_)), "{gone:?}");
}

#[tokio::test]
async fn destroy_needs_an_erasure_and_ends_the_key_on_every_replica() {
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
        // The key can be used until it is destroyed.
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
            assert!(matches!(gone, KeyError::Erased(_)), "a new key was created: {gone:?}");
        }
    }
    assert!(!b.has_key(principal()).await.unwrap());
}

/// A store in which only so many keys can be replaced, as if the rotation were stopped then.
struct Stopping {
    store: Arc<MemoryKeyStore>,
    left: std::sync::atomic::AtomicUsize,
}

impl KeyStore for Stopping {
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Cause>> {
        self.store.get(name)
    }

    fn get_many(&self, limit: usize) -> BoxFuture<'_, Result<Vec<(String, Bytes)>, Cause>> {
        self.store.get_many(limit)
    }

    fn get_or_create<'a>(&'a self, name: &'a str, value: Bytes) -> BoxFuture<'a, Result<Bytes, Cause>> {
        self.store.get_or_create(name, value)
    }

    fn replace<'a>(&'a self, name: &'a str, old: &'a Bytes, new: Bytes) -> BoxFuture<'a, Result<bool, Cause>> {
        use std::sync::atomic::Ordering::SeqCst;
        if self.left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_err() {
            return std::future::ready(Err("stopped".into())).boxed();
        }
        self.store.replace(name, old, new)
    }

    fn destroy<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Cause>> {
        self.store.destroy(name)
    }
}

#[tokio::test]
async fn rotate_that_is_stopped_half_way_goes_on_while_replicas_accept_both_keys() {
    let store = Arc::new(MemoryKeyStore::default());
    let open = async |master| Keyring::open(store.clone(), master, LogAge::InUse).await;
    let old = Keyring::open(store.clone(), master(1), LogAge::Empty).await.unwrap();
    let principals: Vec<_> = (0..50).map(|n| PrincipalId::from_uuid(Uuid::from_u128(n))).collect();
    let mut sealed = Vec::new();
    for principal in &principals {
        sealed.push(old.for_sealing(*principal).await.unwrap().seal(b"", b"x".to_vec()).unwrap());
    }
    let both = || master(2).beside(Some(master(1)));
    let stopping = Stopping { store: store.clone(), left: 20.into() };
    let stopped = rotate(&stopping, &both(), |_, _| {}).await.unwrap_err();
    assert!(matches!(stopped, KeyError::Unavailable(_)), "{stopped:?}");
    // Replicas of both orders still open everything, and have the same claims.
    for replica in [open(both()).await.unwrap(), open(master(1).beside(Some(master(2)))).await.unwrap()] {
        assert_eq!(replica.claim(ClaimKind::Username, "ada"), old.claim(ClaimKind::Username, "ada"));
        for (principal, sealed) in principals.iter().zip(&sealed) {
            assert_eq!(replica.for_opening(*principal).await.unwrap().open(b"", sealed).unwrap(), b"x");
        }
    }
    let done = rotate(&*store, &both(), |_, _| {}).await.unwrap();
    assert_eq!((done.rewrapped, done.unchanged, done.unreadable.len()), (32, 20, 0), "50 keys, claims and check");
    let new = open(master(2)).await.unwrap();
    for (principal, sealed) in principals.iter().zip(&sealed) {
        assert_eq!(new.for_opening(*principal).await.unwrap().open(b"", sealed).unwrap(), b"x");
    }
    assert!(matches!(open(master(1)).await.unwrap_err(), KeyError::WrongMasterKey));
}

#[tokio::test]
async fn rotate_names_keys_that_neither_master_key_unwraps() {
    let store = Arc::new(MemoryKeyStore::default());
    Keyring::open(store.clone(), master(1), LogAge::Empty).await.unwrap();
    store.get_or_create("damaged", Bytes::from_static(b"?")).await.unwrap();
    let done = rotate(&*store, &master(2).beside(Some(master(1))), |_, _| {}).await.unwrap();
    assert_eq!((done.rewrapped, done.unreadable), (2, vec!["damaged".to_owned()]));
    let wrong = rotate(&*store, &master(3).beside(Some(master(1))), |_, _| {}).await.unwrap_err();
    assert!(matches!(wrong, KeyError::WrongMasterKey), "{wrong:?}");
}
