//! The first command of a user with 100,000 events on a new replica: the state comes from a snapshot and the events after
//! it.

use std::time::Duration;

use dockhost_harness::http::Client;
use dockhost_harness::seed::{PASSWORD, Seed};
use dockhost_harness::{Nats, World, wait_until};
use serde_json::json;
use tokio::time::Instant;

use crate::Effort;
use crate::load::Connection;
use crate::report::{Figure, Target, short};
use crate::setup::{Owner, address, median, toggle};

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
    // The seed's last command stopped the instance, so round 1 resumes it.
    let owner = (signed_in(&world, 0, person.name.as_str()).await, instance.clone());
    let without = first_command_millis(&world, 0, &owner, 1).await;

    let snapshots = mongodb::Client::with_uri_str(&world.mongo.uri).await.unwrap();
    let snapshots = snapshots.database(&world.mongo.database).collection::<bson::Document>("snapshots");
    wait_until("a snapshot exists", Duration::from_secs(60), async || {
        match snapshots.count_documents(bson::doc! {}).await {
            Ok(0) | Err(_) => Err("there is none"),
            Ok(_) => Ok(()),
        }
    })
    .await;
    let mut times = Vec::new();
    for round in 0..effort.repetitions.max(3) {
        let replica = world.add_replica().await;
        let owner = (signed_in(&world, replica, person.name.as_str()).await, instance.clone());
        times.push(first_command_millis(&world, replica, &owner, round as u64 + 2).await);
    }
    vec![
        Figure::new(ROW, format!("first command after {events} events, no snapshot"), format!("{} ms", short(without))),
        Figure::new(
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

/// The duration of the first command, in milliseconds.
async fn first_command_millis(world: &World, replica: usize, owner: &Owner, round: u64) -> f64 {
    let mut connection = Connection::open(address(&world.replicas[replica].url)).await;
    let started = Instant::now();
    let (status, answer) = connection.send(toggle(owner, round)).await;
    let took = started.elapsed();
    assert!(status.is_success(), "{status}: {answer:?}");
    took.as_secs_f64() * 1e3
}
