//! Changing the secrets that sign tokens and API keys.

use std::fs;

use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::http::Client;

const INSTANCE: &str = "/api/v2/user/instance";
const SECRETS: [(&str, &str); 2] = [
    ("USER_ACCESS_TOKEN_SECRET", "USER_ACCESS_TOKEN_SECRET_PREVIOUS"),
    ("BACKEND_ACCESS_TOKEN_SECRET", "BACKEND_ACCESS_TOKEN_SECRET_PREVIOUS"),
];

/// Stops or resumes the instance, for which its machine has to be connected.
async fn change(user: &Client, verb: &str, id: &Value) {
    let answer = user.put(&format!("{INSTANCE}/{verb}"), json!({ "instanceId": id })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn token_secrets_changed_with_an_overlap_disturb_nobody_and_end_with_it() {
    let mut world = World::start(1).await;
    let agent = world.add_agent("alpha", 5).await;
    let ada = world.user("ada").await;
    let id = ada.create().await.data()["instanceId"].clone();
    let old_key = world.agents[agent].key.clone();

    for (name, previous) in SECRETS {
        let before = world.server_env().into_iter().rfind(|(variable, _)| *variable == name).unwrap().1;
        world.set(previous, &before);
        world.set(name, &format!("another {name} of enough length"));
    }
    world.restart_replica(0).await;
    // The agent has to authenticate again, with the key of the secret before.
    world.kill_agent(agent).await;
    world.start_agent(agent, &[]);
    change(&ada, "stop", &id).await;
    let credentials = json!({ "username": "alpha", "password": "a long password" });
    let signed_in = world.client(0).post("/api/v2/backend/signin", credentials).await;
    let new_key = signed_in.data()["DOCKHOST_API_KEY"].as_str().unwrap().to_owned();
    assert_ne!(new_key, old_key);
    let bob = world.user("bob").await;
    // In the overlap the agent fetches the key of the new secret by itself.
    world.wait_for_agent_log(agent, "the API key has changed; stored the new one", 1).await;

    for (_, previous) in SECRETS {
        world.set(previous, "");
    }
    world.restart_replica(0).await;
    assert_eq!(ada.get(INSTANCE).await.status, 401, "her token is of the secret before");
    assert_eq!(bob.get(INSTANCE).await.status, 200, "his is of the new one");
    let credentials = json!({ "username": "ada", "password": "correct horse" });
    let signed_in = world.client(0).post("/api/v2/user/signin", credentials).await;
    let ada = world.client(0).with_token(signed_in.data()["accessToken"].as_str().unwrap());
    world.kill_agent(agent).await;
    world.start_agent(agent, &[]);
    change(&ada, "resume", &id).await;

    // Who has the key of the secret before, and nothing else, is refused.
    world.kill_agent(agent).await;
    let stored = world.stored_keys(agent);
    assert_eq!(stored.len(), 1, "{stored:?}");
    fs::remove_file(&stored[0]).unwrap();
    world.start_agent(agent, &[]);
    world.wait_for_agent_log(agent, "refused the API key", 1).await;
    world.kill_agent(agent).await;
    world.agents[agent].key = new_key;
    world.start_agent(agent, &[]);
    change(&ada, "stop", &id).await;
}
