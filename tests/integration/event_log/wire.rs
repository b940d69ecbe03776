//! What stands in the broker's store.

use std::collections::BTreeSet;

use async_nats::jetstream;
use dockhost::broker::streams::{EVENTS, KEYS_BUCKET};
use dockhost::event_log::EventLog;
use dockhost::sealing::{BucketKeyStore, KeyStore};
use dockhost_domain::envelope::header;
use dockhost_domain::ids::PrincipalId;

use super::world::{Live, SECRET, at, master, sign_up, user};

#[tokio::test]
async fn a_personal_value_is_sealed_in_the_store_and_plain_to_every_replica() {
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
    // Another replica, with nothing in memory.
    let second = live.replica(master(1)).await.unwrap();
    assert_eq!(second.load(event.aggregate, 0).await.unwrap()[0].envelope, event);
    // The stored key is wrapped, and bound to its owner.
    let keys = js.get_key_value(KEYS_BUCKET).await.unwrap();
    let name = PrincipalId::from(ada).to_string();
    let wrapped = keys.get(&name).await.unwrap().unwrap();
    assert!(master(1).unwrap_key(&name, &wrapped).is_some());
    assert!(master(2).unwrap_key(&name, &wrapped).is_none());
}

/// Destroying a key must be possible: by its sequence, so that the bytes are overwritten.
#[tokio::test]
async fn a_key_can_be_destroyed_and_is_then_missing_not_erased() {
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
    assert!(cause.contains("missing") && cause.contains(&ada.to_string()), "{cause}");
}

#[tokio::test]
async fn many_keys_are_read_at_once_but_none_that_is_gone() {
    let live = Live::start().await;
    let people: Vec<_> = (0..5).map(|_| user()).collect();
    for person in &people {
        live.log.append(at(0, &sign_up(*person))).await.unwrap();
    }
    let js = jetstream::new(live.client.clone());
    let bucket = js.get_key_value(KEYS_BUCKET).await.unwrap();
    let keys = BucketKeyStore::new(bucket.clone());
    let name = |n: usize| PrincipalId::from(people[n]).to_string();
    keys.destroy(&name(0)).await.unwrap();
    // The bucket's own way leaves a mark where the key was.
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
