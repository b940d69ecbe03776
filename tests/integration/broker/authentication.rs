//! Authentication at the broker: keys, lifetimes, and the callout's failures.

use std::time::Instant;

use async_nats::ConnectErrorKind;
use dockhost::broker::connect::Broker;
use dockhost::broker::store_room::StoreRoom;
use dockhost::dev::secrets::GeneratedSecrets;
use dockhost_domain::subject::Channel;

use super::*;

#[tokio::test]
async fn server_connects_with_its_key_without_a_callout() {
    let nats = Nats::start().await;
    assert!(nats.main().await.is_connected());
    let system = Broker::connect(&nats.url(), &nats.secrets.nats_system, "test", Duration::ZERO).await.unwrap();
    assert!(system.is_connected());
    // No callout runs here, so an unknown key is refused.
    let unknown = GeneratedSecrets::generate().unwrap();
    assert!(Broker::connect(&nats.url(), &unknown.nats, "test", Duration::ZERO).await.is_err());
}

/// So a client that tries again at once costs little.
#[tokio::test]
async fn callout_refusals_beyond_a_few_are_held_back() {
    let world = World::new().await;
    let start = Instant::now();
    let attempts = (0..60).map(|_| world.connect("wrong", world.ada));
    assert!(futures::future::join_all(attempts).await.iter().all(Result::is_err));
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test]
async fn callout_wrong_or_missing_key_is_refused() {
    let world = World::new().await;
    for key in ["carol's", "ada", "", "ada's "] {
        let refused = world.connect(key, world.ada).await.err().expect("the connection was accepted");
        assert_eq!(refused.kind(), ConnectErrorKind::AuthorizationViolation, "{key:?}: {refused:?}");
    }
    let anonymous = ConnectOptions::new().connect(world.nats.url()).await.expect_err("the connection was accepted");
    assert_eq!(anonymous.kind(), ConnectErrorKind::AuthorizationViolation);
    let by_password =
        ConnectOptions::with_user_and_password("ada".to_owned(), "ada's".to_owned()).connect(world.nats.url()).await;
    assert!(by_password.is_err());
    let unknown = nkeys::KeyPair::new_user().seed().unwrap();
    assert!(ConnectOptions::with_nkey(unknown).connect(world.nats.url()).await.is_err());
}

#[tokio::test]
async fn callout_with_a_foreign_signature_accepts_no_connection() {
    let world = World::new().await;
    world.callout.cancel();
    let foreign = Arc::new(Signer::from_seed(&GeneratedSecrets::generate().unwrap().callout).unwrap());
    let callout = Callout::open(world.main.clone(), foreign, world.enrolled.clone(), Arc::default()).await.unwrap();
    tokio::spawn(callout.run(CancellationToken::new()));
    assert!(world.connect("ada's", world.ada).await.is_err());
}

/// Either of two replicas answers, and one is enough.
#[tokio::test]
async fn callout_is_shared_by_the_replicas() {
    let world = World::new().await;
    let signer = Signer::from_seed(&world.nats.secrets.callout).unwrap();
    let second = world.nats.main().await;
    let callout = Callout::open(second, Arc::new(signer), world.enrolled.clone(), Arc::default()).await.unwrap();
    tokio::spawn(callout.run(CancellationToken::new()));
    for _ in 0..4 {
        world.connect("ada's", world.ada).await.unwrap();
    }
    world.callout.cancel();
    world.main.client().flush().await.unwrap();
    world.connect("bob's", world.bob).await.unwrap();
}

#[tokio::test]
async fn callout_stopped_refuses_new_connections_and_keeps_established_ones() {
    let world = World::new().await;
    let ada = world.ada().await;
    world.callout.cancel();
    world.main.client().flush().await.unwrap();
    // The client library counts as connected after the broker's first ping; then the broker refuses it.
    if let Ok(mut bob) = world.connect("bob's", world.bob).await {
        let end = bob.next_event().await;
        assert!(end.contains("authentication timeout") || end.contains("authorization violation"), "{end}");
    }
    ada.client.request(Channel::Report(world.ada).to_string(), "report".into()).await.unwrap();
}

/// The connection ends with its user JWT; the client reconnects and authenticates again.
#[tokio::test]
async fn connection_expires_and_authenticates_again() {
    let world = World::with_lifetime(Duration::from_secs(2)).await;
    let mut ada = world.ada().await;
    let end = ada.next_event().await;
    assert!(end.contains("authentication expired"), "{end}");
    // A request that the client still sends on the expired connection gets no answer.
    wait_until("a request of the new connection is answered", DEADLINE, async || {
        let request = ada.client.request(Channel::Report(world.ada).to_string(), "report".into());
        match timeout(Duration::from_secs(1), request).await {
            Ok(answer) => answer.map(drop).map_err(|error| error.to_string()),
            Err(elapsed) => Err(elapsed.to_string()),
        }
    })
    .await;
}

#[tokio::test]
async fn broker_crash_server_and_agent_reconnect() {
    let mut world = World::new().await;
    world.assign(world.ada, "one").await;
    let ada = world.ada().await;
    world.nats.kill().await;
    wait_until("the server is disconnected", DEADLINE, async || {
        if world.main.is_connected() { Err("connected") } else { Ok(()) }
    })
    .await;
    world.nats.restart().await;
    wait_until("the server is connected", DEADLINE, async || {
        if world.main.is_connected() { Ok(()) } else { Err("disconnected") }
    })
    .await;
    wait_until("the agent is connected", DEADLINE, async || {
        let hello = Channel::Hello(world.ada).to_string();
        match timeout(Duration::from_secs(2), ada.client.request(hello, HELLO.into())).await {
            Ok(Ok(answer)) => {
                assert_eq!(serde_json::from_slice::<Welcome>(&answer.payload).unwrap().assignments, 1);
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn durability_query_finds_a_syncing_node() {
    let nats = Nats::start().await;
    let found = dockhost::broker::durability::query(&nats.url(), &nats.secrets.nats_system).await.unwrap();
    assert_eq!(
        found,
        dockhost::broker::durability::Durability { nodes_answered: 1, unsynced: vec![], disabled: vec![] }
    );
}

#[tokio::test]
async fn store_room_of_a_node_is_known_by_the_system_account() {
    let nats = Nats::start().await;
    let (room, system) = (Arc::<StoreRoom>::default(), nats.secrets.nats_system.clone());
    let asks = tokio::spawn(Arc::clone(&room).run(nats.url(), Some(system), CancellationToken::new()));
    let found = wait_until("the node has answered", DEADLINE, async || room.fullest().ok_or("nothing is known")).await;
    assert!(found.max > 0 && found.left() > 0 && !found.is_nearly_full(), "{found:?}");
    asks.abort();
}
