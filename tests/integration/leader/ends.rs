//! Containers that end behind their agent's back: the instance says why, and runs again or not, as its policy says.

use serde_json::{Value, json};

use super::INSTANCE;
use crate::harness::http::{Answer, Client};
use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

/// No resync: only the engine's events show what happens.
const EVENTS_ONLY: [(&str, &str); 1] = [("DOCKHOST_RECONCILE_MS", "3600000")];

async fn get(user: &Client, id: &str) -> Value {
    user.get(&format!("{INSTANCE}/{id}")).await.data().clone()
}

/// Waits until the instance looks so.
async fn wait_for(user: &Client, id: &str, what: &str, looks_so: impl Fn(&Value) -> bool) -> Value {
    wait_until(what, DEADLINE, async || {
        let instance = get(user, id).await;
        if looks_so(&instance) { Ok(instance) } else { Err(format!("{instance:#}")) }
    })
    .await
}

async fn create(user: &Client, body: Value) -> String {
    let created: Answer = user.post(INSTANCE, body).await;
    assert_eq!((created.status, &created.data()["status"]), (201, &json!("running")), "{created:?}");
    created.data()["instanceId"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn ended_container_shows_its_cause_and_runs_again() {
    let mut world = World::start(1).await;
    let agent = world.add_agent_with("alpha", 5, &EVENTS_ONLY).await;
    let ada = world.user("ada").await;
    let id = create(&ada, json!({})).await;
    assert_eq!(get(&ada, &id).await["restart"], "on-failure");
    let ends = [
        (json!({ "cause": "out_of_memory" }), "it ran out of memory"),
        (json!({ "cause": "exited", "exitCode": 3 }), "its main process exited with code 3"),
        (json!({ "cause": "killed", "signal": 9 }), "its main process was killed by signal 9"),
    ];
    for (nth, (end, message)) in ends.into_iter().enumerate() {
        world.cause_accident(agent, &id, &end);
        let has_end = |instance: &Value| instance["lastEnd"]["count"] == nth + 1;
        let shown = wait_for(&ada, &id, "the end is shown", has_end).await;
        let last = &shown["lastEnd"];
        assert_eq!((&last["cause"], &last["message"]), (&end["cause"], &json!(message)), "{shown}");
        assert_eq!(last["exitCode"], end["exitCode"], "{shown}");
        let again = wait_for(&ada, &id, "it runs again", |instance| instance["status"] == "running").await;
        assert_eq!(again["lastEnd"], *last, "it is kept");
    }
    // The restart of the engine ends everything on it.
    let other = create(&ada, json!({})).await;
    world.cause_accident(agent, "engine", &Value::Null);
    for id in [&id, &other] {
        let by_engine = |instance: &Value| instance["lastEnd"]["cause"] == "engine_restarted";
        wait_for(&ada, id, "the restart of the engine is shown", by_engine).await;
        wait_for(&ada, id, "it runs again", |instance| instance["status"] == "running").await;
    }
    let stopped = ada.put("/api/v2/user/instance/stop", json!({ "instanceId": id })).await;
    assert_eq!((stopped.status, &stopped.data()["lastEnd"]), (200, &Value::Null), "{stopped:?}");
    world.verify().await;
}

#[tokio::test]
async fn ended_container_that_must_not_restart_fails_with_its_cause_until_it_is_resumed() {
    let mut world = World::start(1).await;
    let agent = world.add_agent_with("alpha", 5, &EVENTS_ONLY).await;
    let ada = world.user("ada").await;
    let id = create(&ada, json!({ "restart": "never" })).await;
    assert_eq!(get(&ada, &id).await["restart"], "never");
    world.cause_accident(agent, &id, &json!({ "cause": "out_of_memory" }));
    let failed = wait_for(&ada, &id, "it failed", |instance| instance["status"] == "failed").await;
    let reason = failed["failure"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("out of memory") && reason.contains("not started again"), "{failed}");

    // A restarted agent gets the assignment again, and does not start it either.
    world.kill_agent(agent).await;
    world.start_agent(agent, &[]);
    wait_until("the agent has looked at the instance", DEADLINE, async || {
        let log = world.agent_log(agent);
        if log.matches("the container ended").count() == 2 { Ok(()) } else { Err(log) }
    })
    .await;
    assert_eq!(get(&ada, &id).await["status"], "failed");

    let resumed = ada.put("/api/v2/user/instance/resume", json!({ "instanceId": id })).await;
    assert_eq!((resumed.status, &resumed.data()["status"]), (200, &json!("running")), "{resumed:?}");
    world.verify().await;
}

#[tokio::test]
async fn removed_container_fails_its_instance_and_is_not_replaced() {
    let mut world = World::start(1).await;
    let agent = world.add_agent_with("alpha", 5, &EVENTS_ONLY).await;
    let ada = world.user("ada").await;
    let id = create(&ada, json!({})).await;
    // From here on its assignment says which container has its files.
    for verb in ["stop", "resume"] {
        let changed = ada.put(&format!("{INSTANCE}/{verb}"), json!({ "instanceId": id })).await;
        assert_eq!(changed.status, 200, "{changed:?}");
    }
    world.cause_accident(agent, &id, &json!("removed"));
    let failed = wait_for(&ada, &id, "it failed", |instance| instance["status"] == "failed").await;
    assert!(failed["failure"][0]["reason"].as_str().unwrap().contains("was removed there"), "{failed}");
    assert_eq!(world.containers(agent).ever.len(), 1, "its files are gone; an empty container would hide that");
    world.verify().await;
}
