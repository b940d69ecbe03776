//! The first command of a user with 100,000 events, on a replica that has never heard of them: the state comes from a
//! snapshot and the log's tail.

use std::time::Duration;

use dockhost_harness::http::Client;
use dockhost_harness::seed::{PASSWORD, Seed};
use dockhost_harness::{Nats, World, wait_until};
use serde_json::json;
use tokio::time::Instant;

use crate::Effort;
use crate::load::Connection;
use crate::place::{Owner, address, median, toggle};
use crate::report::{Figure, Target, short};

const ROW: &str = "cold";
const EVENTS: u64 = 100_000;

pub async fn run(effort: Effort) -> Vec<Figure> {
    let events = EVENTS / effort.divisor;
    let mut nats = Nats::start_unsynced().await;
    let mut seed = Seed::open(&nats, Duration::from_secs(60 * 24 * 3600), Duration::from_secs(40)).await;
    seed.machines(1, 10).await;
    let person = seed.busy_person(usize::try_from(events).unwrap()).await;
    drop(seed);
    nats.reopen().await;
    let mut world = World::upon(nats, 1, &[]).await;
    let instance = person.instances.first().unwrap().to_string();
    // The last of so many commands stopped it.
    let owner = (signed_in(&world, 0, person.name.as_str()).await, instance.clone());
    let without = first(&world, 0, &owner, 1).await;

    let snapshots = mongodb::Client::with_uri_str(&world.mongo.uri).await.unwrap();
    let snapshots = snapshots.database(&world.mongo.database).collection::<bson::Document>("snapshots");
    wait_until("a snapshot is kept", Duration::from_secs(60), async || {
        match snapshots.count_documents(bson::doc! {}).await {
            Ok(0) | Err(_) => Err("none is"),
            Ok(_) => Ok(()),
        }
    })
    .await;
    let mut times = Vec::new();
    for round in 0..effort.turns.max(3) {
        let replica = world.add_replica().await;
        let owner = (signed_in(&world, replica, person.name.as_str()).await, instance.clone());
        times.push(first(&world, replica, &owner, round as u64 + 2).await);
    }
    vec![
        Figure::told(
            ROW,
            format!("first command after {events} events, no snapshot"),
            format!("{} ms", short(without)),
        ),
        Figure::told(
            ROW,
            format!("first command after {events} events, ms"),
            format!("{} ms", short(median(times.clone()))),
        )
        .judged(median(times), Target::AtMost(100.0)),
    ]
}

async fn signed_in(world: &World, replica: usize, name: &str) -> Client {
    let client = world.client(replica);
    let signin = json!({ "username": name, "password": PASSWORD });
    let answer = client.post("/api/v2/user/signin", signin).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    client.with_token(answer.data()["accessToken"].as_str().unwrap())
}

/// Times the first command: milliseconds.
async fn first(world: &World, replica: usize, owner: &Owner, round: u64) -> f64 {
    let mut connection = Connection::open(address(&world.replicas[replica].url)).await;
    let begun = Instant::now();
    let (status, answer) = connection.send(toggle(owner, round)).await;
    let took = begun.elapsed();
    assert!(status.is_success(), "{status}: {answer:?}");
    took.as_secs_f64() * 1e3
}
