//! What the leader's roles do for instances, backends and erased users.

mod autostop;
mod deadlines;
mod drain;
mod ends;
mod erasure;
mod fences;
mod fleet;
mod group_ended;
mod key_rotation;
mod lease;
mod lifetime;
mod moves;
mod redelivery;
mod silence;
mod standstill;
mod webhooks;

use dockhost_domain::ids::BackendId;
use serde_json::Value;

use crate::harness::http::{Answer, Client};
use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

const INSTANCE: &str = "/api/v2/user/instance";

async fn id_of(world: &World, backend: &str) -> BackendId {
    let answer = world.backend(backend).await.get("/api/v2/backend").await;
    answer.data()["id"].as_str().unwrap().parse().unwrap()
}

/// Waits until an instance has this status; returns it.
async fn wait_for(user: &Client, created: &Answer, status: &str) -> Value {
    let path = format!("{INSTANCE}/{}", created.data()["instanceId"].as_str().unwrap());
    wait_until(&format!("the instance is {status}"), DEADLINE, async || {
        let answer = user.get(&path).await;
        if answer.data()["status"] == status { Ok(answer.data().clone()) } else { Err(format!("{answer:?}")) }
    })
    .await
}
