//! Rotating the key of one machine while its agent runs.

use std::fs;
use std::time::Duration;

use async_nats::connection::State;
use dockhost::common::clock;
use dockhost_domain::backend::IssueKey;

use super::fleet::{connect, execute};
use super::{id_of, wait_for};
use crate::harness::{World, wait_until};

/// Long enough for an agent to connect on a busy machine.
const OVERLAP: Duration = Duration::from_secs(25);
const DEADLINE: Duration = Duration::from_secs(90);

#[tokio::test]
async fn rotated_key_is_fetched_by_the_agent_and_the_one_before_ends_at_its_time() {
    let mut world = World::start(1).await;
    let agent = world.add_agent("alpha", 5).await;
    let (id, old_key) = (id_of(&world, "alpha").await, world.agents[agent].key.clone());
    let ada = world.user("ada").await;
    let created = ada.create().await;
    execute(&world, id, IssueKey { previous_until: Some(clock::now().after(OVERLAP)) }).await;
    // The agent's connection is closed; it comes back with the old key, and is given the new one.
    world.wait_for_agent_log(agent, "the API key has changed; stored the new one", 1).await;
    let copy = connect(world.nats.url(), &old_key, id).await.unwrap();

    // The broker closes both connections when the old key ends, to the second, and the agent comes back with the new one.
    wait_until("the copy of the old key is cut off", DEADLINE, async || match copy.connection_state() {
        State::Connected => Err("connected"),
        _ => Ok(()),
    })
    .await;
    wait_until("the old key is refused", DEADLINE, async || match connect(world.nats.url(), &old_key, id).await {
        Ok(_) => Err("accepted"),
        Err(_) => Ok(()),
    })
    .await;
    world.wait_for_agent_log(agent, "accepted by the server", 3).await;
    assert!(!world.agent_log(agent).contains("refused the API key"), "{}", world.agent_log(agent));

    // So it does after a restart, although it is configured with the old one.
    world.stop_agent(agent).await;
    world.start_agent(agent, &[]);
    world.wait_for_agent_log(agent, "using the stored API key", 1).await;
    world.wait_for_agent_log(agent, "accepted by the server", 4).await;
    wait_for(&ada, &created, "running").await;
    assert_eq!(ada.create().await.status, 201);

    // Without what it has stored, it can't connect any more.
    world.stop_agent(agent).await;
    let keys = world.stored_keys(agent);
    assert_eq!(keys.len(), 1, "{keys:?}");
    fs::remove_file(&keys[0]).unwrap();
    world.start_agent(agent, &[]);
    world.wait_for_agent_log(agent, "refused the API key", 1).await;
}
