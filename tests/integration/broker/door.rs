//! Who gets in, for how long, and what happens when nobody answers.

use async_nats::ConnectErrorKind;
use dockhost::broker::connect::Broker;
use dockhost::dev::secrets::GeneratedSecrets;
use dockhost_domain::subject::Channel;

use super::*;

#[tokio::test]
async fn the_main_server_gets_in_by_its_key_alone() {
    let nats = Nats::start().await;
    assert!(nats.main().await.is_connected());
    let system = Broker::connect(&nats.url(), &nats.secrets.nats_system, "test", Duration::ZERO).await.unwrap();
    assert!(system.is_connected());
    // Nobody answers at the door here: it stays shut for an unknown key.
    let stranger = GeneratedSecrets::generate().unwrap();
    assert!(Broker::connect(&nats.url(), &stranger.nats, "test", Duration::ZERO).await.is_err());
}

#[tokio::test]
async fn a_wrong_key_and_no_key_are_refused() {
    let world = World::new().await;
    for key in ["carol's", "ada", "", "ada's "] {
        let refused = world.knock(key, world.ada).await.err().expect("it was let in");
        assert_eq!(refused.kind(), ConnectErrorKind::AuthorizationViolation, "{key:?}: {refused:?}");
    }
    let nameless = ConnectOptions::new().connect(world.nats.url()).await.expect_err("it was let in");
    assert_eq!(nameless.kind(), ConnectErrorKind::AuthorizationViolation);
    let by_name =
        ConnectOptions::with_user_and_password("ada".to_owned(), "ada's".to_owned()).connect(world.nats.url()).await;
    assert!(by_name.is_err());
    let stranger = nkeys::KeyPair::new_user().seed().unwrap();
    assert!(ConnectOptions::with_nkey(stranger).connect(world.nats.url()).await.is_err());
}

#[tokio::test]
async fn a_door_with_a_foreign_signature_lets_nobody_in() {
    let world = World::new().await;
    world.callout.cancel();
    let foreign = Signer::from_seed(&GeneratedSecrets::generate().unwrap().callout).unwrap();
    let door = Callout::open(world.main.clone(), foreign, world.enrolled.clone()).await.unwrap();
    tokio::spawn(door.run(CancellationToken::new()));
    assert!(world.knock("ada's", world.ada).await.is_err());
}

/// Two replicas: either one answers, and one is enough.
#[tokio::test]
async fn replicas_share_the_door() {
    let world = World::new().await;
    let signer = Signer::from_seed(&world.nats.secrets.callout).unwrap();
    let second = world.nats.main().await;
    let door = Callout::open(second, signer, world.enrolled.clone()).await.unwrap();
    tokio::spawn(door.run(CancellationToken::new()));
    for _ in 0..4 {
        world.knock("ada's", world.ada).await.unwrap();
    }
    world.callout.cancel();
    world.main.client().flush().await.unwrap();
    world.knock("bob's", world.bob).await.unwrap();
}

#[tokio::test]
async fn without_an_answer_new_connections_fail_and_standing_ones_go_on() {
    let world = World::new().await;
    let ada = world.ada().await;
    world.callout.cancel();
    world.main.client().flush().await.unwrap();
    // The client library takes the broker's first ping for a welcome; the broker has let nobody in, and says so.
    if let Ok(mut bob) = world.knock("bob's", world.bob).await {
        let end = bob.next_event().await;
        assert!(end.contains("authentication timeout") || end.contains("authorization violation"), "{end}");
    }
    ada.client.request(Channel::Report(world.ada).to_string(), "news".into()).await.unwrap();
}

/// The connection ends with its permission; the client comes back by itself and shows its key again.
#[tokio::test]
async fn a_connection_has_to_show_its_key_again() {
    let world = World::with_lifetime(Duration::from_secs(2)).await;
    let mut ada = world.ada().await;
    let end = ada.next_event().await;
    assert!(end.contains("authentication expired"), "{end}");
    ada.client.request(Channel::Report(world.ada).to_string(), "news".into()).await.unwrap();
}

#[tokio::test]
async fn the_server_comes_back_after_a_crash_of_the_broker() {
    let mut world = World::new().await;
    world.assign(world.ada, "one").await;
    let ada = world.ada().await;
    world.nats.kill().await;
    wait_until(
        "the loss is noticed",
        DEADLINE,
        async || if world.main.is_connected() { Err("connected") } else { Ok(()) },
    )
    .await;
    world.nats.restart().await;
    wait_until("the server is back", DEADLINE, async || if world.main.is_connected() { Ok(()) } else { Err("away") })
        .await;
    wait_until("the agent is back", DEADLINE, async || {
        let hello = Channel::Hello(world.ada).to_string();
        match timeout(Duration::from_secs(2), ada.client.request(hello, "{}".into())).await {
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
async fn the_broker_says_that_it_syncs_each_write() {
    let nats = Nats::start().await;
    let found = dockhost::broker::durability::query(&nats.url(), &nats.secrets.nats_system).await.unwrap();
    assert_eq!(found, dockhost::broker::durability::Durability { nodes_answered: 1, unsynced: vec![] });
}
