use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use super::super::memory::{MemoryErasures, MemoryKeyStore};
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
