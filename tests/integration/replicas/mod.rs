//! Several replicas act as one server, and survive the loss of a replica, the broker, a node of it, or the database.

mod agent_connection;
mod agents_with_one_key;
mod broker;
mod clock;
mod database;
mod disk_full;
mod events;
mod failover;
mod leaderless;
mod lost_database;
mod nodes;
mod partition;
mod power_cut;
mod reads;
mod reports_lost;
mod room;
mod sessions;
mod shutdown;

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::harness::http::{Answer, Client};
use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

pub const INSTANCE: &str = "/api/v2/user/instance";
const POSITION: &str = "dockhost-position";

/// Runs each test on one broker node and one mongod, and on three of each.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod one_node {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::harness::Topology::ONE).await;
            })*
        }
        mod three_nodes {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::harness::Topology::THREE).await;
            })*
        }
    };
}
pub(crate) use on_both;

pub async fn list_after(client: &Client, position: &str) -> Answer {
    client.send(Method::GET, INSTANCE, &[(POSITION, position)], None).await
}

/// Creates an instance without waiting for the outcome.
pub async fn create_async(client: &Client) -> Answer {
    let answer = client.json(Method::POST, INSTANCE, &[("prefer", "respond-async")], json!({})).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer
}

fn contains(list: &Answer, created: &Answer) -> bool {
    let id = &created.data()["instanceId"];
    list.data().as_array().into_iter().flatten().any(|instance| instance["instanceId"] == *id)
}

pub fn position(answer: &Answer) -> &str {
    answer.header(POSITION).unwrap_or_else(|| panic!("no position: {answer:?}"))
}

/// Whether the answer is a 503 with this code and a `Retry-After`.
fn is_refusal(answer: &Answer, code: &str) -> bool {
    answer.status == 503 && answer.code() == code && answer.header("retry-after").is_some()
}

/// Signs a user up; returns a client of that user for each replica.
pub async fn client_per_replica(world: &World, name: &str) -> Vec<Client> {
    let user = world.user(name).await;
    world.replicas.iter().map(|replica| user.at(&replica.url)).collect()
}

async fn create_within(client: &Client, what: &str, deadline: Duration) {
    wait_until(what, deadline, async || {
        let created =
            client.try_send(Method::POST, INSTANCE, &[("content-type", "application/json")], Some(b"{}".into()));
        match created.await {
            Ok(answer) if answer.status == 201 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// Waits until `/health` of a replica reports exactly these as down.
async fn wait_for_health(client: &Client, down: &[&str]) {
    wait_until(&format!("/health reports {down:?} as down"), DEADLINE, async || {
        let health = client.get("/health").await;
        let status = if down.is_empty() { 200 } else { 503 };
        if (health.status, &health.body["down"]) == (status, &json!(down)) {
            Ok(())
        } else {
            Err(format!("{health:?}"))
        }
    })
    .await;
}
