//! Events and keys as the broker stores them.

use std::collections::BTreeSet;

use async_nats::jetstream;
use dockhost::broker::streams::{EVENTS, KEYS_BUCKET};
use dockhost::event_log::EventLog;
use dockhost::sealing::{BucketKeyStore, KeyStore};
use dockhost_domain::envelope::header;
use dockhost_domain::ids::PrincipalId;

use super::world::{Live, SECRET, at, master, sign_up, user};

#[tokio::test]
async fn log_stores_personal_values_sealed_and_every_replica_opens_them() {
    let live = Live::start().await;
    let ada = user();
    let event = sign_up(ada);
    live.log.append(at(0, &event)).await.unwrap();
    let js = jetstream::new(live.client.clone());
    let raw = js.get_stream(EVENTS).await.unwrap().get_raw_message(1).await.unwrap();
    let text = String::from_utf8(raw.payload.to_vec()).unwrap();
    assert!(text.contains("$sealed") && !text.contains(SECRET) && !text.contains("argon2id"), "{text}");
    assert_eq!(raw.headers.get(header::TYPE).unwrap().as_str(), "dockhost.account.created.v1");
    assert_eq!(raw.headers.get(header::SUBJECT).unwrap().as_str(), raw.subject.as_str());
    // Another replica, with an empty cache.
    let second = live.replica(master(1)).await.unwrap();
    assert_eq!(second.load(event.aggregate, 0).await.unwrap()[0].envelope, event);
    // The stored key is wrapped, and bound to its owner.
    let keys = js.get_key_value(KEYS_BUCKET).await.unwrap();
    let name = PrincipalId::from(ada).to_string();
    let wrapped = keys.get(&name).await.unwrap().unwrap();
    assert!(master(1).unwrap_key(&name, &wrapped).is_some());
    assert!(master(2).unwrap_key(&name, &wrapped).is_none());
}

/// A key can be deleted by its sequence, which makes the broker overwrite it.
#[tokio::test]
async fn keyring_deleted_key_without_an_erasure_is_lost() {
    let live = Live::start().await;
    let ada = user();
    let event = sign_up(ada);
    live.log.append(at(0, &event)).await.unwrap();
    let js = jetstream::new(live.client.clone());
    let keys = js.get_key_value(KEYS_BUCKET).await.unwrap();
    let entry = keys.entry(PrincipalId::from(ada).to_string()).await.unwrap().unwrap();
    js.get_stream("KV_KEYS").await.unwrap().delete_message(entry.revision).await.unwrap();
    let second = live.replica(master(1)).await.unwrap();
    let error = second.load(event.aggregate, 0).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("is lost") && cause.contains(&ada.to_string()), "{cause}");
}

#[tokio::test]
async fn key_store_get_many_returns_existing_keys_only() {
    let live = Live::start().await;
    let users: Vec<_> = (0..5).map(|_| user()).collect();
    for user in &users {
        live.log.append(at(0, &sign_up(*user))).await.unwrap();
    }
    let js = jetstream::new(live.client.clone());
    let bucket = js.get_key_value(KEYS_BUCKET).await.unwrap();
    let keys = BucketKeyStore::new(bucket.clone());
    let name = |n: usize| PrincipalId::from(users[n]).to_string();
    keys.destroy(&name(0)).await.unwrap();
    // The bucket's own delete leaves a tombstone.
    bucket.delete(name(1)).await.unwrap();
    let many = keys.get_many(100).await.unwrap();
    let found: BTreeSet<_> = many.iter().map(|(name, _)| name.clone()).collect();
    let expected: BTreeSet<_> = (2..5).map(name).chain(["check".to_owned(), "claims".to_owned()]).collect();
    assert_eq!(found, expected);
    for (name, key) in many {
        assert_eq!(keys.get(&name).await.unwrap(), Some(key), "{name}");
    }
    assert_eq!(keys.get_many(2).await.unwrap().len(), 2);
}
