//! Two agents with one API key, as the broker sees them.

use dockhost::broker::consumer;
use dockhost::broker::streams::ASSIGNMENTS;
use dockhost_domain::ids::AgentRunId;
use dockhost_domain::timestamp::Timestamp;
use serde_json::json;

use super::*;

/// How a hello is answered: the code and the text of a refusal, if it is one.
async fn hello(agent: &Agent, body: &str) -> Option<(String, String)> {
    let answer = agent.client.request(Channel::Hello(agent.backend).to_string(), body.to_owned().into()).await.unwrap();
    let header = |name: &str| Some(answer.headers.as_ref()?.get(name)?.to_string());
    Some((header("Nats-Service-Error-Code")?, header("Nats-Service-Error")?))
}

async fn wait_until_pulling(world: &World, expected: bool) {
    wait_until(&format!("the holder's pulling is {expected}"), DEADLINE, async || {
        let holder = world.holders.read(world.ada).await.unwrap();
        if holder.is_some_and(|holder| holder.is_pulling == expected) { Ok(()) } else { Err(format!("{holder:?}")) }
    })
    .await;
}

#[tokio::test]
async fn hello_of_another_run_is_refused_with_the_time_of_the_first() {
    let world = World::new().await;
    let (first, second) = (world.ada().await, world.ada().await);
    assert_eq!(hello(&first, HELLO).await, None);
    let since = world.holders.read(world.ada).await.unwrap().unwrap().since;
    let other = r#"{"agentVersion":"test","agentRun":"00000000-0000-4000-8000-000000000002"}"#;
    let (code, text) = hello(&second, other).await.unwrap();
    assert_eq!(code, "409");
    assert!(text.contains(&format!("connected since {since};")), "{text}");
    assert_eq!(hello(&first, HELLO).await, None, "the same run reconnects");
    assert_eq!(world.holders.read(world.ada).await.unwrap().unwrap().since, since);

    let (code, text) = hello(&second, r#"{"agentVersion":"test"}"#).await.unwrap();
    assert_eq!(code, "400");
    assert!(text.contains("agentRun"), "{text}");
}

#[tokio::test]
async fn holder_whose_connection_ends_pulls_no_longer() {
    let world = World::new().await;
    let first = world.ada().await;
    first.hello().await;
    wait_until_pulling(&world, false).await;
    let pull = first.pull(&json!({ "batch": 3, "expires": 30_000_000_000_u64 })).await;
    wait_until_pulling(&world, true).await;
    drop((pull, first));
    wait_until_pulling(&world, false).await;
}

/// Both were found to be the first.
#[tokio::test]
async fn replace_by_two_runs_at_once_makes_one_holder() {
    let world = World::new().await;
    let [one, two] = [1, 2].map(|n| AgentRunId::from_uuid(uuid::Uuid::from_u128(n)));
    let replace = async |run| world.holders.replace(world.ada, Recorded::Nobody, run, Timestamp::from_millis(0)).await;
    assert_eq!(replace(one).await.unwrap(), 0);
    replace(two).await.unwrap_err();
    let holder = world.holders.read(world.ada).await.unwrap().unwrap();
    assert_eq!((holder.run, holder.since), (Some(one), Timestamp::from_millis(0)));
    assert!(world.holders.counts(world.ada, Some(one)).await.unwrap());
    assert!(!world.holders.counts(world.ada, Some(two)).await.unwrap());
    assert!(!world.holders.counts(world.ada, None).await.unwrap());
    assert!(world.holders.counts(world.bob, Some(two)).await.unwrap(), "nobody holds it");
}

/// Another replica accepted its hello. A report that is ignored does not come again.
#[tokio::test]
async fn counts_sees_a_holder_that_has_just_changed() {
    let world = World::new().await;
    let [one, two] = [1, 2].map(|n| AgentRunId::from_uuid(uuid::Uuid::from_u128(n)));
    let since = Timestamp::from_millis(0);
    world.holders.replace(world.ada, Recorded::Nobody, one, since).await.unwrap();
    let other_replica = Holders::new(world.nats.main().await.jetstream().clone());
    let current = other_replica.read(world.ada).await.unwrap();
    other_replica.replace(world.ada, Recorded::Held(current.unwrap()), two, since).await.unwrap();
    assert!(world.holders.was_held_lately(world.ada));
    assert!(world.holders.counts(world.ada, Some(two)).await.unwrap());
    assert!(!world.holders.counts(world.ada, Some(one)).await.unwrap());
}

/// Without it, one of twelve consumers is on that node almost always: the broker chooses among three by chance.
#[tokio::test]
async fn replace_keeps_consumers_away_from_a_suspected_node() {
    let nats = Nats::cluster().await;
    let main = nats.main().await;
    let js = main.jetstream();
    streams::ensure(js, &StreamOptions { replicas: Some(3), max_bytes: 1 << 20 }).await.unwrap();
    let holders = Holders::new(js.clone());
    let assignments = js.get_stream(ASSIGNMENTS).await.unwrap();
    let node_of_new = async || {
        let backend = BackendId::from_uuid(clock::fresh_uuid());
        let run = AgentRunId::from_uuid(clock::fresh_uuid());
        holders.replace(backend, Recorded::Nobody, run, Timestamp::from_millis(0)).await.unwrap();
        let info = consumer::find(&assignments, &backend.to_string()).await.unwrap().unwrap();
        consumer::node_of(&info).unwrap().to_owned()
    };
    let suspected = node_of_new().await;
    holders.suspect(&suspected);
    for _ in 0..12 {
        assert_ne!(node_of_new().await, suspected);
    }
}
