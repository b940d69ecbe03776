//! Assignments that are delivered again to a restarted agent.

use std::fs;

use serde_json::{Value, json};

use super::{INSTANCE, wait_for};
use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

/// The changes that an agent has written to its journal of containers, by kind, since it started.
fn changes(world: &World, agent: usize) -> (usize, usize) {
    let directory = world.data.path().join(&world.agents[agent].name);
    let journal = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let journal = journal.into_iter().find(|path| path.extension().is_some_and(|kind| kind == "jsonl")).unwrap();
    let text = fs::read_to_string(journal).unwrap();
    (text.matches("{\"put\"").count(), text.matches("{\"removed\"").count())
}

/// All assignments of a machine are delivered again when its agent has restarted.
#[tokio::test]
async fn restarted_agent_does_nothing_twice() {
    let mut world = World::start(1).await;
    let agent = world.add_agent("alpha", 5).await;
    let ada = world.user("ada").await;
    let (running, stopped, deleted) = (ada.create().await, ada.create().await, ada.create().await);
    let id = |created: &crate::harness::http::Answer| json!({ "instanceId": created.data()["instanceId"] });
    assert_eq!(ada.put("/api/v2/user/instance/stop", id(&stopped)).await.status, 200);
    world.kill_agent(agent).await;
    let answer = ada.json(reqwest::Method::DELETE, INSTANCE, &[("prefer", "respond-async")], id(&deleted)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let events = async |world: &World| world.events_on("dockhost.event.tenancy.*").await.values().sum::<usize>();
    let before = events(&world).await;
    let (log, containers) = (world.agent_log(agent).len(), world.containers(agent).now);

    world.start_agent(agent, &[]);
    let reports = |log: &str| log.lines().filter(|line| line.contains(" reporting ")).count();
    wait_until("the agent has reported on each assignment", DEADLINE, async || {
        let log = world.agent_log(agent)[log..].to_owned();
        if reports(&log) == 3 { Ok(()) } else { Err(log) }
    })
    .await;
    wait_until("the deletion is complete", DEADLINE, async || {
        let listed = ada.get(INSTANCE).await;
        if listed.data().as_array().map(Vec::len) == Some(2) { Ok(()) } else { Err(format!("{listed:?}")) }
    })
    .await;
    // At its start it wrote one line for each container that it found.
    assert_eq!(changes(&world, agent), (3, 1), "it only removed what was deleted meanwhile");
    let expected: Vec<Value> =
        [&running, &stopped].iter().map(|created| created.data()["containerId"].clone()).collect();
    let left: Vec<Value> = world.containers(agent).now.into_iter().map(Value::from).collect();
    assert!(left.len() == 2 && expected.iter().all(|id| left.contains(id)), "{left:?} of {containers:?}");
    for (created, status) in [(&running, "running"), (&stopped, "stopped")] {
        wait_for(&ada, created, status).await;
    }
    assert_eq!(events(&world).await, before + 1, "what it reports again changes nothing but the deletion");
    world.verify().await;
}
