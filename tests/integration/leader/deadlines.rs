//! Every transitional state ends by its deadline: agents refuse, die, hang and return.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::http::{Answer, Client};
use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

const INSTANCE: &str = "/api/v2/user/instance";

/// Deadlines short enough to wait for.
const SHORT_DEADLINES: [(&str, &str); 4] = [
    ("DOCKHOST_CREATE_WITHIN_MS", "2500"),
    ("DOCKHOST_STOP_WITHIN_MS", "2500"),
    ("DOCKHOST_RESUME_WITHIN_MS", "2500"),
    ("DOCKHOST_DELETE_WITHIN_MS", "2500"),
];
/// Heartbeats come every 5 s, so this is about the shortest value that works.
const LOST_AFTER: (&str, &str) = ("DOCKHOST_LOST_AFTER_MS", "7000");
/// The time from a deadline until a read model usually shows its effect.
const MAX_PROJECTION_DELAY: Duration = Duration::from_secs(3);

fn id_of(created: &Answer) -> Value {
    json!({ "instanceId": created.data()["instanceId"] })
}

async fn get(user: &Client, created: &Answer) -> Answer {
    user.get(&format!("{INSTANCE}/{}", created.data()["instanceId"].as_str().unwrap())).await
}

/// Waits until an instance has this status (`gone` for 404); returns it.
async fn wait_for(user: &Client, created: &Answer, status: &str) -> Value {
    wait_until(&format!("the instance is {status}"), DEADLINE, async || {
        let answer = get(user, created).await;
        let seen = if answer.status == 404 { "gone" } else { answer.data()["status"].as_str().unwrap_or_default() };
        if seen == status { Ok(answer.data().clone()) } else { Err(format!("{answer:?}")) }
    })
    .await
}

async fn wait_for_containers(world: &World, agent: usize, count: usize) {
    wait_until(&format!("{} has {count} containers", world.agents[agent].name), DEADLINE, async || {
        let containers = world.containers(agent);
        if containers.now.len() == count { Ok(()) } else { Err(format!("{containers:?}")) }
    })
    .await;
}

/// Creates an instance without waiting for the outcome.
async fn create_async(user: &Client) -> Answer {
    let prefer = [("prefer", "respond-async")];
    let answer = user.json(reqwest::Method::POST, INSTANCE, &prefer, json!({})).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer
}

/// Changes an instance without waiting for the outcome.
async fn change_async(user: &Client, method: reqwest::Method, path: &str, created: &Answer) {
    let answer = user.json(method, &format!("{INSTANCE}{path}"), &[("prefer", "respond-async")], id_of(created)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

/// A busy machine may take longer than the tolerance, but each transitional state ends.
async fn wait_until_nothing_is_overdue(world: &World) {
    wait_until("no instance is overdue", DEADLINE, async || {
        let overdue = world.overdue(MAX_PROJECTION_DELAY).await;
        if overdue.is_empty() { Ok(()) } else { Err(format!("{overdue:#?}")) }
    })
    .await;
}

#[tokio::test]
async fn create_without_connected_backend_names_each_reason() {
    let mut world = World::start(1).await;
    world.register("alpha", 5).await;
    let ada = world.user("ada").await;
    let refused = ada.create().await;
    assert_eq!((refused.status, refused.code()), (503, "no_backend"), "{refused:?}");
    let expected = json!({ "backends": 1, "reasons": { "not_connected": 1 } });
    assert_eq!(refused.body["error"]["details"], expected);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(ada.get(INSTANCE).await.data(), &json!([]), "no instance was created");
}

#[tokio::test]
async fn create_refused_by_one_backend_runs_on_another() {
    let mut world = World::start(1).await;
    world.add_agent_with("unwilling", 5, &[("DOCKHOST_SIMULATE_REFUSE", "true")]).await;
    let willing = world.add_agent("willing", 5).await;
    let ada = world.user("ada").await;
    for _ in 0..3 {
        let created = ada.create().await;
        assert_eq!((created.status, &created.data()["backend"]["name"]), (201, &json!("willing")), "{created:?}");
    }
    assert_eq!(world.containers(willing).now.len(), 3);
    // Placement prefers the emptier backend, so one of the first two creates was refused there first. After that it is
    // tried last.
    let log = std::fs::read_to_string(world.data.path().join("agent-unwilling.log")).unwrap();
    assert_eq!(log.matches("desired=Running").count(), 1, "{log}");
    world.verify().await;
}

#[tokio::test]
async fn create_refused_by_all_backends_fails_with_all_reasons() {
    let mut world = World::start(1).await;
    for name in ["alpha", "beta"] {
        world.add_agent_with(name, 5, &[("DOCKHOST_SIMULATE_REFUSE", "true")]).await;
    }
    let ada = world.user("ada").await;
    let failed = ada.create().await;
    assert_eq!((failed.status, failed.code()), (503, "operation_failed"), "{failed:?}");
    let details = &failed.body["error"]["details"];
    let mut names: Vec<_> = details["reasons"].as_array().unwrap().iter().map(|reason| &reason["backend"]).collect();
    names.sort_by_key(ToString::to_string);
    assert_eq!(names, ["alpha", "beta"], "{failed:?}");

    let listed = ada.get(INSTANCE).await;
    let instance = &listed.data()[0];
    assert_eq!((&instance["status"], &instance["failure"]), (&json!("failed"), &details["reasons"]), "{listed:?}");
    let operation = ada.get(&format!("/api/v2/operations/{}", details["operationId"].as_str().unwrap())).await;
    assert_eq!(operation.data()["status"], "failed", "{operation:?}");
    let id = json!({ "instanceId": instance["instanceId"] });
    let resumed = ada.put("/api/v2/user/instance/resume", id.clone()).await;
    assert_eq!((resumed.status, resumed.code()), (409, "instance_failed"), "{resumed:?}");
    let deleted = ada.delete(INSTANCE, id).await;
    assert_eq!((deleted.status, &deleted.data()["status"]), (200, &json!("deleted")), "{deleted:?}");
    assert_eq!(ada.get(INSTANCE).await.data(), &json!([]));
    world.verify().await;
}

#[tokio::test]
async fn create_on_dead_backend_moves_to_another_at_its_deadline() {
    let mut world = World::with(1, &SHORT_DEADLINES).await;
    let dead = world.add_agent("dead", 5).await;
    let alive = world.add_agent("alive", 5).await;
    let ada = world.user("ada").await;
    world.kill_agent(dead).await;
    // The server does not know yet that the backend is dead. One of two creates is placed there first.
    for _ in 0..2 {
        let created = ada.create().await;
        assert_eq!((created.status, &created.data()["backend"]["name"]), (201, &json!("alive")), "{created:?}");
    }
    assert_eq!((world.containers(dead).ever.len(), world.containers(alive).now.len()), (0, 2));
    wait_until_nothing_is_overdue(&world).await;

    // A returning backend learns that its instances were moved, and gets new ones.
    world.start_agent(dead, &[]);
    wait_until("the backend gets an instance", DEADLINE, async || {
        let created = ada.create().await;
        if created.data()["backend"]["name"] == "dead" { Ok(()) } else { Err(format!("{created:?}")) }
    })
    .await;
    assert_eq!(world.containers(dead).ever.len(), 1, "it creates none of the moved ones");
    world.verify().await;
}

#[tokio::test]
async fn hanging_backend_every_operation_ends_at_its_deadline() {
    let mut world = World::with(2, &SHORT_DEADLINES).await;
    let alpha = world.add_agent("alpha", 9).await;
    let ada = world.user("ada").await;
    let (stopping, resuming, deleting) = (ada.create().await, ada.create().await, ada.create().await);
    for created in [&stopping, &resuming, &deleting] {
        assert_eq!(created.status, 201, "{created:?}");
    }
    assert_eq!(ada.put("/api/v2/user/instance/stop", id_of(&resuming)).await.status, 200);
    world.pause_agent(alpha).await;

    let creating = create_async(&ada).await;
    change_async(&ada, reqwest::Method::PUT, "/stop", &stopping).await;
    change_async(&ada, reqwest::Method::PUT, "/resume", &resuming).await;
    change_async(&ada, reqwest::Method::DELETE, "", &deleting).await;
    for (created, status) in [(&creating, "failed"), (&stopping, "failed"), (&resuming, "failed"), (&deleting, "gone")]
    {
        let instance = wait_for(&ada, created, status).await;
        if status == "failed" {
            let reason = instance["failure"][0]["reason"].as_str().unwrap_or_default();
            assert!(reason.contains("time"), "{instance}");
        }
        wait_until_nothing_is_overdue(&world).await;
    }
    assert_eq!(world.containers(alpha).now.len(), 3, "the paused agent did nothing");

    // The agent resumes and reconciles.
    world.resume_agent(alpha).await;
    wait_for(&ada, &stopping, "stopped").await;
    wait_for(&ada, &resuming, "running").await;
    assert_eq!(get(&ada, &creating).await.data()["status"], "failed", "a failed create stays failed");
    assert_eq!(ada.delete(INSTANCE, id_of(&creating)).await.status, 200);
    // The agent may create the container of the failed create from an old assignment; it removes it afterwards.
    wait_for_containers(&world, alpha, 2).await;
    world.verify().await;
}

#[tokio::test]
async fn lost_backend_returns_and_reconciles_its_containers() {
    let mut world = World::with(1, &[SHORT_DEADLINES[3], LOST_AFTER]).await;
    let alpha = world.add_agent("alpha", 5).await;
    let ada = world.user("ada").await;
    let (remaining, deleting) = (ada.create().await, ada.create().await);
    assert_eq!((remaining.status, deleting.status), (201, 201), "{remaining:?} {deleting:?}");
    world.kill_agent(alpha).await;
    let unreachable = wait_for(&ada, &remaining, "unreachable").await;
    assert_eq!(unreachable["backend"]["status"], "lost", "{unreachable}");
    assert!(unreachable["lastSeen"].is_string(), "{unreachable}");
    assert_eq!(ada.create().await.code(), "no_backend");

    let deleted = ada.delete(INSTANCE, id_of(&deleting)).await;
    assert_eq!((deleted.status, &deleted.data()["status"]), (200, &json!("deleted")), "{deleted:?}");
    assert_eq!(get(&ada, &deleting).await.status, 404);
    assert_eq!(world.containers(alpha).now.len(), 2, "no agent is running to remove it");

    world.start_agent(alpha, &[]);
    let running = wait_for(&ada, &remaining, "running").await;
    assert_eq!(running["containerId"], remaining.data()["containerId"], "{running}");
    wait_for_containers(&world, alpha, 1).await;
    assert_eq!(world.containers(alpha).now.first().map(String::as_str), running["containerId"].as_str());
    let backend = world.backend("alpha").await;
    wait_until("its heartbeat shows one container", DEADLINE, async || {
        let answer = backend.get("/api/v2/backend").await;
        if answer.data()["containers"] == 1 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    world.verify().await;
}

#[tokio::test]
async fn create_on_lost_backend_is_placed_elsewhere() {
    // The create deadline is far away, so only the loss moves the instance.
    let mut world = World::with(1, &[LOST_AFTER, ("DOCKHOST_CREATE_WITHIN_MS", "60000")]).await;
    let dead = world.add_agent("dead", 5).await;
    let ada = world.user("ada").await;
    world.kill_agent(dead).await;
    let created = create_async(&ada).await;
    world.add_agent("alive", 5).await;
    let running = wait_for(&ada, &created, "running").await;
    assert_eq!(running["backend"]["name"], "alive", "{running}");
    world.verify().await;
}

#[tokio::test]
async fn agent_crashes_during_create_keeps_one_container() {
    let mut world = World::start(1).await;
    let slow = [("DOCKHOST_SIMULATE_DELAY_MS", "300")];
    let alpha = world.add_agent_with("alpha", 5, &slow).await;
    let ada = world.user("ada").await;
    let created = create_async(&ada).await;
    // The agent crashes between creating and starting the container.
    wait_for_containers(&world, alpha, 1).await;
    world.kill_agent(alpha).await;
    let created_container = world.containers(alpha).now;
    world.start_agent(alpha, &slow);
    let running = wait_for(&ada, &created, "running").await;
    assert_eq!(
        Some(running["containerId"].as_str().unwrap()),
        created_container.first().map(String::as_str),
        "{running}"
    );
    let containers = world.containers(alpha);
    assert_eq!((containers.ever.len(), containers.most), (1, 1), "{containers:?}");
    world.verify().await;
}

#[tokio::test]
async fn hanging_backend_many_instances_all_end_at_their_deadlines() {
    let mut world = World::with(2, &SHORT_DEADLINES).await;
    let alpha = world.add_agent("alpha", 20).await;
    world.add_agent("beta", 20).await;
    let ada = world.user("ada").await;
    let mut all = futures::future::join_all((0..8).map(|_| ada.create())).await;
    assert!(all.iter().all(|created| created.status == 201), "{all:?}");
    world.pause_agent(alpha).await;
    for (n, created) in all.iter().enumerate() {
        let (method, path) = match n % 4 {
            0 => (reqwest::Method::PUT, "/stop"),
            1 => (reqwest::Method::DELETE, ""),
            _ => continue,
        };
        change_async(&ada, method, path, created).await;
    }
    for _ in 0..8 {
        all.push(create_async(&ada).await);
    }
    let transitional = ["creating", "stopping", "resuming", "deleting"];
    wait_until("no instance is in a transitional state", DEADLINE, async || {
        let list = ada.get(INSTANCE).await;
        let still = |instance: &&Value| transitional.iter().any(|state| instance["status"] == *state);
        let waiting: Vec<_> = list.data().as_array().into_iter().flatten().filter(still).collect();
        if list.status == 200 && waiting.is_empty() { Ok(()) } else { Err(format!("{waiting:?}")) }
    })
    .await;
    // The second eight all run on the backend that answers.
    for created in &all[8..] {
        assert_eq!(get(&ada, created).await.data()["backend"]["name"], "beta");
    }
    world.resume_agent(alpha).await;
    for created in &all {
        assert_eq!(ada.delete(INSTANCE, id_of(created)).await.status, 200);
    }
    for agent in 0..2 {
        wait_for_containers(&world, agent, 0).await;
    }
    world.verify().await;
}
