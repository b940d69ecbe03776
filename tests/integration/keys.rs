//! SSH keys of an account and of its instances, down to the containers.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::http::Client;
use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

const INSTANCE: &str = "/api/v2/user/instance";
const KEYS: &str = "/api/v2/user/keys";
const DESKTOP: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMXOUsbZXZ9V7m4WjaK/6wznfQZJb9slyKLs1bjzj/MO";

/// The keys of an agent's only container.
fn keys(world: &World, agent: usize) -> Vec<String> {
    world.containers(agent).keys.into_values().next().unwrap_or_default()
}

async fn wait_for_keys(world: &World, agent: usize, expected: &[&str]) {
    wait_until("the container has these keys", DEADLINE, async || {
        let keys = keys(world, agent);
        if keys == expected { Ok(()) } else { Err(format!("{keys:?} instead of {expected:?}")) }
    })
    .await;
}

async fn get(user: &Client, id: &str) -> Value {
    user.get(&format!("{INSTANCE}/{id}")).await.data().clone()
}

#[tokio::test]
async fn keys_changed_reach_the_running_container_and_a_removed_one_leaves_every_instance() {
    let mut world = World::start(2).await;
    let agent = world.add_agent("alpha", 5).await;
    let ada = world.user("ada").await;
    let default = ada.get(KEYS).await.data()[0]["sshPublicKey"].as_str().unwrap().to_owned();
    let default = default.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let added = ada.post(KEYS, json!({ "name": "desktop", "sshPublicKey": format!("{DESKTOP} ada@desktop") })).await;
    assert_eq!(added.status, 201, "{added:?}");

    let created = ada.post(INSTANCE, json!({})).await;
    assert_eq!((created.status, &created.data()["status"]), (201, &json!("running")), "{created:?}");
    let id = created.data()["instanceId"].as_str().unwrap().to_owned();
    assert_eq!(keys(&world, agent), [&default, DESKTOP], "all keys of the account, without comments");

    let path = format!("{INSTANCE}/{id}/keys");
    let set = ada.put(&path, json!({ "keys": ["desktop"] })).await;
    assert_eq!((set.status, set.data()["sshKeys"].as_array().unwrap().len()), (200, 1), "{set:?}");
    wait_for_keys(&world, agent, &[DESKTOP]).await;
    let shown = get(&ada, &id).await;
    assert_eq!((&shown["status"], &shown["generation"]), (&json!("running"), &json!(1)), "{shown}");
    assert_eq!(shown["containerId"], created.data()["containerId"]);

    // A key that is removed while the instance is stopped does not log in when it runs again.
    let stopped = ada.put(&format!("{INSTANCE}/stop"), json!({ "instanceId": id })).await;
    assert_eq!(stopped.status, 200, "{stopped:?}");
    let key = format!("{KEYS}/{}", added.data()["id"].as_str().unwrap());
    let removed = ada.send(Method::DELETE, &key, &[], None).await;
    assert_eq!(removed.status, 200, "{removed:?}");
    world.kill_agent(agent).await;
    world.start_agent(agent, &[]);
    let resumed = ada.put(&format!("{INSTANCE}/resume"), json!({ "instanceId": id })).await;
    assert_eq!((resumed.status, &resumed.data()["status"]), (200, &json!("running")), "{resumed:?}");
    assert_eq!(keys(&world, agent), [""; 0], "nobody may log in");
    let set = ada.put(&path, json!({ "keys": ["default"] })).await;
    assert_eq!(set.status, 200, "{set:?}");
    wait_for_keys(&world, agent, &[&default]).await;
    assert_eq!(world.containers(agent).ever.len(), 1, "the container is not replaced");
    world.verify().await;
}
