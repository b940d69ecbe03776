use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dockhost_domain::account::{AccountEvent, Created, Role};
use dockhost_domain::aggregate::Meta;
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::{PrincipalId, UserId};
use dockhost_domain::timestamp::Timestamp;
use futures::future::BoxFuture;
use uuid::Uuid;

use super::*;
use crate::sealing::{ErasureLookup, KeyStore, LogAge, MemoryErasures, MemoryKeyStore};

async fn codec(store: &Arc<MemoryKeyStore>) -> Codec {
    let master = STANDARD.encode([1; 32]).parse().unwrap();
    Codec::new(Arc::new(Keyring::open(store.clone(), master, LogAge::Empty).await.unwrap()))
}

async fn codec_with_erasures(store: &Arc<MemoryKeyStore>, erasures: &Arc<MemoryErasures>) -> Codec {
    let master = STANDARD.encode([1; 32]).parse().unwrap();
    let keyring = Keyring::open(store.clone(), master, LogAge::Empty).await.unwrap();
    Codec::new(Arc::new(keyring.with_erasures(erasures.clone())))
}

fn envelope() -> Envelope {
    Envelope {
        aggregate: AggregateId::Account(UserId::from_uuid(Uuid::from_u128(1))),
        meta: Meta { id: EventId::from_uuid(Uuid::from_u128(2)), time: Timestamp::from_millis(3) },
        origin: Origin::new(Actor::Anonymous, "request:r"),
        event: AccountEvent::Created(Created {
            username: "ada".parse::<dockhost_domain::names::Username>().unwrap().into(),
            email: "ada@example.org".to_owned().into(),
            password_verifier: "$argon2id$secret".to_owned().into(),
            ssh_public_key: None,
            role: Role::User,
            group_id: None,
        })
        .into(),
    }
}

fn unreadable(decoded: Decoded) -> String {
    match decoded {
        Decoded::Unreadable { sequence: 9, why } => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn codec_round_trips_and_hides_personal_values() {
    let codec = codec(&Arc::default()).await;
    let envelope = envelope();
    let (headers, body) = codec.encode(&envelope).await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.contains("$sealed"), "{text}");
    // The name with its quotes, because three letters can stand in sealed text by chance.
    for secret in ["\"ada\"", "example.org", "argon2id", "$personal"] {
        assert!(!text.contains(secret) && !format!("{headers:?}").contains(secret), "{secret} is in {text}");
    }
    let subject = envelope.aggregate.to_string();
    let stored = StoredMessage { sequence: 9, subject: &subject, headers: &headers, body: &body };
    match codec.decode(&stored).await.unwrap() {
        Decoded::Event(recorded) => assert_eq!(*recorded, RecordedEvent { sequence: 9, envelope }),
        other @ (Decoded::Barrier | Decoded::Unreadable { .. }) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn decode_unreadable_message_returns_the_reason() {
    let codec = codec(&Arc::default()).await;
    let envelope = envelope();
    let (headers, body) = codec.encode(&envelope).await.unwrap();
    let subject = envelope.aggregate.to_string();
    let decode = async |subject: &str, headers: &HeaderMap, body: &[u8]| {
        unreadable(codec.decode(&StoredMessage { sequence: 9, subject, headers, body }).await.unwrap())
    };
    assert!(decode("dockhost.event.account.x", &headers, &body).await.contains("not a known subject"));
    assert!(decode(&subject, &HeaderMap::new(), &body).await.contains(header::ID));
    assert!(decode(&subject, &headers, b"{").await.contains("EOF"));
    let another = AggregateId::Account(UserId::from_uuid(Uuid::from_u128(5))).to_string();
    assert!(decode(&another, &headers, &body).await.contains(header::SUBJECT));
    let mut unknown = headers.clone();
    unknown.insert(header::TYPE, "dockhost.account.created.v99");
    let why = decode(&subject, &unknown, &body).await;
    assert!(why.contains("v99") && !why.contains("example.org"), "{why}");
    let mut moved = headers.clone();
    moved.insert(header::ID, "0193b3a0-0000-7000-8000-000000000001");
    assert!(decode(&subject, &moved, &body).await.contains("cannot be opened"));
}

#[tokio::test]
async fn decode_unreadable_reason_contains_no_personal_value() {
    let codec = codec(&Arc::default()).await;
    let principal = envelope().aggregate.sealed_under().unwrap();
    let (headers, _) = codec.encode(&envelope()).await.unwrap();
    let mut data = serde_json::json!({ "username": { "$personal": ["Not A Name"] } });
    let cipher = codec.0.for_sealing(principal).await.unwrap();
    sealing::seal(&mut data, &cipher, Binding { principal, event: envelope().meta.id }).unwrap();
    let (subject, body) = (envelope().aggregate.to_string(), data.to_string());
    let stored = StoredMessage { sequence: 9, subject: &subject, headers: &headers, body: body.as_bytes() };
    let why = unreadable(codec.decode(&stored).await.unwrap());
    assert!(!why.contains("Not A Name"), "{why}");
    assert_eq!(redacted("found \"ada\" there".to_owned(), &["ada".to_owned()]), "found \"[PERSONAL]\" there");
}

/// Decodes the account of each of these users after all their keys were lost, on another replica than the one that
/// stored it.
async fn decode_without_keys(users: std::ops::RangeInclusive<u128>) -> Vec<Result<Decoded, KeyError>> {
    let store = Arc::new(MemoryKeyStore::default());
    let (writer, reader) = (codec(&store).await, codec(&store).await);
    let mut decoded = Vec::new();
    for user in users {
        let aggregate = AggregateId::Account(UserId::from_uuid(Uuid::from_u128(user)));
        let (headers, body) = writer.encode(&Envelope { aggregate, ..envelope() }).await.unwrap();
        let principal = aggregate.sealed_under().unwrap();
        store.lose(&principal.to_string());
        let subject = aggregate.to_string();
        let stored = StoredMessage { sequence: 9, subject: &subject, headers: &headers, body: &body };
        decoded.push(reader.decode(&stored).await);
        let sealed = reader.encode(&Envelope { aggregate, ..envelope() }).await;
        assert!(decoded.last().unwrap().is_err() || sealed.is_err(), "a lost key was replaced");
    }
    decoded
}

#[tokio::test]
async fn decode_few_lost_keys_make_their_events_unreadable() {
    for decoded in decode_without_keys(1..=10).await {
        let why = unreadable(decoded.unwrap());
        assert!(why.starts_with("the key of ") && why.ends_with(" is lost"), "{why}");
    }
}

#[tokio::test]
async fn decode_many_lost_keys_is_an_error() {
    let last = decode_without_keys(1..=11).await.pop().unwrap();
    assert!(matches!(last, Err(KeyError::Missing(_))), "{last:?}");
}

#[tokio::test]
async fn decode_lost_key_that_is_restored_is_readable() {
    let store = Arc::new(MemoryKeyStore::default());
    let envelope = envelope();
    let (headers, body) = codec(&store).await.encode(&envelope).await.unwrap();
    let name = envelope.aggregate.sealed_under().unwrap().to_string();
    let key = store.get(&name).await.unwrap().unwrap();
    store.lose(&name);
    let subject = envelope.aggregate.to_string();
    let stored = StoredMessage { sequence: 9, subject: &subject, headers: &headers, body: &body };
    let codec = codec(&store).await;
    unreadable(codec.decode(&stored).await.unwrap());
    store.get_or_create(&name, key).await.unwrap();
    assert!(matches!(codec.decode(&stored).await, Ok(Decoded::Event(_))));
    assert!(codec.encode(&envelope).await.is_ok());
}

/// A log that panics when it is asked for an erasure, as a faulty decoder would.
struct Panicking;

impl ErasureLookup for Panicking {
    fn is_erased(&self, _: PrincipalId) -> BoxFuture<'_, Result<bool, Cause>> {
        panic!("expected by this test")
    }
}

#[tokio::test]
async fn decode_that_panics_makes_the_event_unreadable() {
    let store = Arc::new(MemoryKeyStore::default());
    let (headers, body) = codec(&store).await.encode(&envelope()).await.unwrap();
    let (subject, master) = (envelope().aggregate.to_string(), STANDARD.encode([1; 32]).parse().unwrap());
    store.lose(&envelope().aggregate.sealed_under().unwrap().to_string());
    let keyring = Keyring::open(store.clone(), master, LogAge::InUse).await.unwrap();
    let codec = Codec::new(Arc::new(keyring.with_erasures(Arc::new(Panicking))));
    let stored = StoredMessage { sequence: 9, subject: &subject, headers: &headers, body: &body };
    assert_eq!(unreadable(codec.decode(&stored).await.unwrap()), "decoding the event panicked");
}

/// Sealed values are erased; the others are still decoded.
#[tokio::test]
async fn decode_after_erasure_erases_values_once_the_key_is_gone() {
    let (store, erasures) = (Arc::new(MemoryKeyStore::default()), Arc::new(MemoryErasures::default()));
    let envelope = envelope();
    let (headers, body) = codec(&store).await.encode(&envelope).await.unwrap();
    let principal = envelope.aggregate.sealed_under().unwrap();
    let subject = envelope.aggregate.to_string();
    let read = async |codec: &Codec| {
        let stored = StoredMessage { sequence: 9, subject: &subject, headers: &headers, body: &body };
        match codec.decode(&stored).await {
            Ok(Decoded::Event(recorded)) => match &recorded.envelope.event {
                Event::Account(AccountEvent::Created(created)) => created.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    erasures.erase(principal);
    let codec = codec_with_erasures(&store, &erasures).await;
    assert!(read(&codec).await.email.plain().is_some(), "the key still exists and is used");
    store.lose(&principal.to_string());
    let codec = codec_with_erasures(&store, &erasures).await;
    let created = read(&codec).await;
    assert_eq!(
        (created.username.plain(), created.email.plain(), created.password_verifier.plain()),
        (None, None, None)
    );
    assert_eq!(created.role, Role::User);
    assert!(codec.encode(&envelope).await.is_err(), "sealed for an erased principal");
}

/// A replica that did not know of the erasure created a new key: values that it does not open are erased as well.
#[tokio::test]
async fn decode_with_a_new_key_of_an_erased_principal_erases() {
    let (store, erasures) = (Arc::new(MemoryKeyStore::default()), Arc::new(MemoryErasures::default()));
    let envelope = envelope();
    let (headers, body) = codec(&store).await.encode(&envelope).await.unwrap();
    let principal = envelope.aggregate.sealed_under().unwrap();
    store.lose(&principal.to_string());
    codec(&store).await.0.for_sealing(principal).await.unwrap();
    let subject = envelope.aggregate.to_string();
    let stored = StoredMessage { sequence: 9, subject: &subject, headers: &headers, body: &body };
    let codec = codec_with_erasures(&store, &erasures).await;
    let why = unreadable(codec.decode(&stored).await.unwrap());
    assert!(why.contains("cannot be opened"), "without an erasure this is an error: {why}");
    erasures.erase(principal);
    let decoded = codec.decode(&stored).await.unwrap();
    assert!(matches!(decoded, Decoded::Event(_)), "{decoded:?}");
}

#[tokio::test]
async fn encode_refuses_line_breaks_in_headers() {
    let codec = codec(&Arc::default()).await;
    let mut envelope = envelope();
    envelope.origin.cause = "x\r\nNats-Rollup: all".to_owned();
    assert!(codec.encode(&envelope).await.is_err());
}
