//! Without the database commands are still taken and reads are refused; when it is back, all is as the log says.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::time::timeout;

use super::{INSTANCE, ask, at_each, health_says, is_refusal, list_after, position};
use crate::harness::http::Client;
use crate::harness::wait::DEADLINE;
use crate::harness::{Topology, World, wait_until};

/// What a request takes at most while the database does not answer.
const BOUND: Duration = Duration::from_secs(30);

/// Every kind of command, at one replica; returns the position of the last.
async fn commands(world: &World, replica: usize, ada: &Client, running: &str, name: &str) -> String {
    let client = world.client(replica);
    let bounded = async |what: &str, answer| timeout(BOUND, answer).await.unwrap_or_else(|_| panic!("{what} hangs"));
    let signed_up = bounded("sign-up", Box::pin(client.sign_up(name))).await;
    assert_eq!(signed_up.status, 201, "{signed_up:?}");
    let signin = json!({ "username": name, "password": "correct horse" });
    let signed_in = timeout(BOUND, client.post("/api/v2/user/signin", signin)).await.expect("sign-in hangs");
    assert_eq!(signed_in.status, 200, "{signed_in:?}");
    ask(ada).await;
    let (headers, which) = ([("prefer", "respond-async")], json!({ "instanceId": running }));
    let path = if replica.is_multiple_of(2) { "/stop" } else { "/resume" };
    let changed = ada.json(Method::PUT, &format!("{INSTANCE}{path}"), &headers, which).await;
    assert!(matches!(changed.status, 200 | 202), "{changed:?}");
    position(&changed).to_owned()
}

async fn reads_are_refused(client: &Client) {
    let list = timeout(BOUND, client.get(INSTANCE)).await.expect("a GET hangs");
    assert!(is_refusal(&list, "database_unavailable"), "{list:?}");
}

async fn reads_come_back(clients: &[Client], position: &str) {
    for client in clients {
        wait_until("the list is there again", 3 * DEADLINE, async || {
            let list = list_after(client, position).await;
            if list.status == 200 { Ok(()) } else { Err(format!("{list:?}")) }
        })
        .await;
        health_says(client, &[]).await;
    }
}

#[tokio::test]
async fn without_the_database_commands_go_on() {
    let mut world = World::on(Topology::ONE.with_own_database(), 3, &[]).await;
    world.add_agent("alpha", 50).await;
    let ada = at_each(&world, "ada").await;
    let running = ada[0].create().await.data()["instanceId"].as_str().unwrap().to_owned();
    world.mongods.as_mut().unwrap().kill(0).await;
    let mut last = String::new();
    for (replica, client) in ada.iter().enumerate() {
        health_says(client, &["database"]).await;
        last = commands(&world, replica, client, &running, &format!("killed{replica}")).await;
        reads_are_refused(client).await;
    }
    // Nobody is fitter to lead.
    for replica in &world.replicas {
        let log = std::fs::read_to_string(&replica.log).unwrap();
        assert!(!log.contains("yielding the lease"), "{log}");
    }
    world.mongods.as_mut().unwrap().restart(0).await;
    reads_come_back(&ada, &last).await;

    // It takes connections and answers nothing.
    world.mongods.as_mut().unwrap().pause(0).await;
    for (replica, client) in ada.iter().enumerate() {
        last = commands(&world, replica, client, &running, &format!("paused{replica}")).await;
        reads_are_refused(client).await;
        health_says(client, &["database"]).await;
    }
    world.mongods.as_mut().unwrap().resume(0).await;
    reads_come_back(&ada, &last).await;
    world.verify().await;
}

#[tokio::test]
async fn the_death_of_a_primary_is_survived() {
    let mut world = World::on(Topology::THREE, 3, &[]).await;
    world.add_agent("alpha", 50).await;
    let ada = at_each(&world, "ada").await;
    let running = ada[0].create().await.data()["instanceId"].as_str().unwrap().to_owned();
    let mongods = world.mongods.as_mut().unwrap();
    let primary = mongods.primary().await;
    mongods.kill(primary).await;
    let last = commands(&world, 0, &ada[0], &running, "bob").await;
    reads_come_back(&ada, &last).await;
    let mongods = world.mongods.as_mut().unwrap();
    assert_ne!(mongods.primary().await, primary);
    mongods.restart(primary).await;
    world.verify().await;
}
