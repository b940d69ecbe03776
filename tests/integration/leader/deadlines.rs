//! Nothing is ever stuck: agents that refuse, vanish, hang or come back, and what becomes of their instances.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::http::{Answer, Client};
use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

const INSTANCE: &str = "/api/v2/user/instance";

/// Deadlines short enough to be waited for.
const SHORT: [(&str, &str); 4] = [
    ("DOCKHOST_CREATE_WITHIN_MS", "2500"),
    ("DOCKHOST_STOP_WITHIN_MS", "2500"),
    ("DOCKHOST_RESUME_WITHIN_MS", "2500"),
    ("DOCKHOST_DELETE_WITHIN_MS", "2500"),
];
/// A machine is heard every 5 s, so this is about as short as it can be.
const LOST_SOON: (&str, &str) = ("DOCKHOST_LOST_AFTER_MS", "7000");
/// From a deadline until its consequence can be read.
const SLACK: Duration = Duration::from_secs(3);

fn which(created: &Answer) -> Value {
    json!({ "instanceId": created.data()["instanceId"] })
}

async fn shown(user: &Client, created: &Answer) -> Answer {
    user.get(&format!("{INSTANCE}/{}", created.data()["instanceId"].as_str().unwrap())).await
}

/// Waits until an instance has a status; returns it.
async fn wait_for(user: &Client, created: &Answer, status: &str) -> Value {
    wait_until(&format!("the instance is {status}"), DEADLINE, async || {
        let answer = shown(user, created).await;
        let seen = if answer.status == 404 { "gone" } else { answer.data()["status"].as_str().unwrap_or_default() };
        if seen == status { Ok(answer.data().clone()) } else { Err(format!("{answer:?}")) }
    })
    .await
}

async fn wait_for_containers(world: &World, agent: usize, count: usize) {
    wait_until(&format!("{} holds {count} containers", world.agents[agent].name), DEADLINE, async || {
        let held = world.containers(agent);
        if held.now.len() == count { Ok(()) } else { Err(format!("{held:?}")) }
    })
    .await;
}

/// A create that is only asked for.
async fn ask(user: &Client) -> Answer {
    let prefer = [("prefer", "respond-async")];
    let answer = user.json(reqwest::Method::POST, INSTANCE, &prefer, json!({})).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer
}

/// A change that is only asked for.
async fn ask_to(user: &Client, method: reqwest::Method, path: &str, created: &Answer) {
    let answer = user.json(method, &format!("{INSTANCE}{path}"), &[("prefer", "respond-async")], which(created)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

async fn assert_nothing_overdue(world: &World) {
    let overdue = world.overdue(SLACK).await;
    assert!(overdue.is_empty(), "past their deadlines: {overdue:#?}");
}

#[tokio::test]
async fn without_a_machine_there_is_a_reason_for_each() {
    let mut world = World::start(1).await;
    world.register("alpha", 5).await;
    let ada = world.user("ada").await;
    let refused = ada.create().await;
    assert_eq!((refused.status, refused.code()), (503, "no_backend"), "{refused:?}");
    let backends = &refused.body["error"]["details"]["backends"];
    assert_eq!((&backends[0]["backend"], &backends[0]["reason"]), (&json!("alpha"), &json!("is not connected")));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(ada.get(INSTANCE).await.data(), &json!([]), "nothing was begun");
}

#[tokio::test]
async fn what_one_refuses_another_makes() {
    let mut world = World::start(1).await;
    world.add_agent_with("unwilling", 5, &[("DOCKHOST_SIMULATE_REFUSE", "true")]).await;
    let willing = world.add_agent("willing", 5).await;
    let ada = world.user("ada").await;
    for _ in 0..3 {
        let created = ada.create().await;
        assert_eq!((created.status, &created.data()["backend"]["name"]), (201, &json!("willing")), "{created:?}");
    }
    assert_eq!(world.containers(willing).now.len(), 3);
    // The emptier machine is asked first, so at least the second and the third were refused there.
    let placed = world.events_on("dockhost.event.tenancy.>").await.into_values().sum::<usize>();
    assert!(placed >= 3 + 3 + 2, "{placed} events");
    world.verify().await;
}

#[tokio::test]
async fn what_all_refuse_fails_with_all_reasons() {
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
    let which = json!({ "instanceId": instance["instanceId"] });
    let resumed = ada.put("/api/v2/user/instance/resume", which.clone()).await;
    assert_eq!((resumed.status, resumed.code()), (409, "instance_failed"), "{resumed:?}");
    let deleted = ada.delete(INSTANCE, which).await;
    assert_eq!((deleted.status, &deleted.data()["status"]), (200, &json!("deleted")), "{deleted:?}");
    assert_eq!(ada.get(INSTANCE).await.data(), &json!([]));
    world.verify().await;
}

#[tokio::test]
async fn what_a_dead_machine_does_not_make_another_does() {
    let mut world = World::with(1, &SHORT).await;
    let dead = world.add_agent("dead", 5).await;
    let alive = world.add_agent("alive", 5).await;
    let ada = world.user("ada").await;
    world.kill_agent(dead).await;
    // The server doesn't know yet. Whichever is asked first, the emptier one comes next.
    for _ in 0..2 {
        let created = ada.create().await;
        assert_eq!((created.status, &created.data()["backend"]["name"]), (201, &json!("alive")), "{created:?}");
    }
    assert_eq!((world.containers(dead).ever.len(), world.containers(alive).now.len()), (0, 2));
    assert_nothing_overdue(&world).await;

    // When it is back it learns that it was not waited for, and is as good as any.
    world.start_agent(dead, &[]);
    wait_until("the machine is given another", DEADLINE, async || {
        let created = ada.create().await;
        if created.data()["backend"]["name"] == "dead" { Ok(()) } else { Err(format!("{created:?}")) }
    })
    .await;
    assert_eq!(world.containers(dead).ever.len(), 1, "of those that it missed it made none");
    world.verify().await;
}

#[tokio::test]
async fn a_machine_that_hangs_holds_nothing_beyond_its_deadline() {
    let mut world = World::with(2, &SHORT).await;
    let alpha = world.add_agent("alpha", 9).await;
    let ada = world.user("ada").await;
    let (stops, resumes, goes) = (ada.create().await, ada.create().await, ada.create().await);
    for created in [&stops, &resumes, &goes] {
        assert_eq!(created.status, 201, "{created:?}");
    }
    assert_eq!(ada.put("/api/v2/user/instance/stop", which(&resumes)).await.status, 200);
    world.pause_agent(alpha).await;

    let comes = ask(&ada).await;
    ask_to(&ada, reqwest::Method::PUT, "/stop", &stops).await;
    ask_to(&ada, reqwest::Method::PUT, "/resume", &resumes).await;
    ask_to(&ada, reqwest::Method::DELETE, "", &goes).await;
    for (created, status) in [(&comes, "failed"), (&stops, "failed"), (&resumes, "failed"), (&goes, "gone")] {
        let instance = wait_for(&ada, created, status).await;
        if status == "failed" {
            let reason = instance["failure"][0]["reason"].as_str().unwrap_or_default();
            assert!(reason.contains("time"), "{instance}");
        }
        assert_nothing_overdue(&world).await;
    }
    assert_eq!(world.containers(alpha).now.len(), 3, "the machine itself did nothing");

    // It goes on where it was, and what is wanted comes about after all.
    world.resume_agent(alpha).await;
    wait_for(&ada, &stops, "stopped").await;
    wait_for(&ada, &resumes, "running").await;
    assert_eq!(shown(&ada, &comes).await.data()["status"], "failed", "what was given up stays so");
    assert_eq!(ada.delete(INSTANCE, which(&comes)).await.status, 200);
    // It may have been sent what was given up, and make it before it reads on; but it doesn't keep it.
    wait_for_containers(&world, alpha, 2).await;
    world.verify().await;
}

#[tokio::test]
async fn a_lost_machine_keeps_what_it_has_and_learns_what_it_missed() {
    let mut world = World::with(1, &[SHORT[3], LOST_SOON]).await;
    let alpha = world.add_agent("alpha", 5).await;
    let ada = world.user("ada").await;
    let (stays, goes) = (ada.create().await, ada.create().await);
    assert_eq!((stays.status, goes.status), (201, 201), "{stays:?} {goes:?}");
    world.kill_agent(alpha).await;
    let unreachable = wait_for(&ada, &stays, "unreachable").await;
    assert_eq!(unreachable["backend"]["status"], "lost", "{unreachable}");
    assert!(unreachable["lastSeen"].is_string(), "{unreachable}");
    assert_eq!(ada.create().await.code(), "no_backend");

    let deleted = ada.delete(INSTANCE, which(&goes)).await;
    assert_eq!((deleted.status, &deleted.data()["status"]), (200, &json!("deleted")), "{deleted:?}");
    assert_eq!(shown(&ada, &goes).await.status, 404);
    assert_eq!(world.containers(alpha).now.len(), 2, "nobody is there to remove it");

    world.start_agent(alpha, &[]);
    let running = wait_for(&ada, &stays, "running").await;
    assert_eq!(running["containerId"], stays.data()["containerId"], "{running}");
    wait_for_containers(&world, alpha, 1).await;
    assert_eq!(world.containers(alpha).now.first().map(String::as_str), running["containerId"].as_str());
    let backend = world.backend("alpha").await;
    wait_until("its heartbeat says so", DEADLINE, async || {
        let answer = backend.get("/api/v2/backend").await;
        if answer.data()["containers"] == 1 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    world.verify().await;
}

#[tokio::test]
async fn what_waits_for_a_machine_is_made_elsewhere_when_that_is_lost() {
    // Only the loss can move it: its deadline is far away.
    let mut world = World::with(1, &[LOST_SOON, ("DOCKHOST_CREATE_WITHIN_MS", "60000")]).await;
    let dead = world.add_agent("dead", 5).await;
    let ada = world.user("ada").await;
    world.kill_agent(dead).await;
    let created = ask(&ada).await;
    world.add_agent("alive", 5).await;
    let running = wait_for(&ada, &created, "running").await;
    assert_eq!(running["backend"]["name"], "alive", "{running}");
    world.verify().await;
}

#[tokio::test]
async fn an_agent_that_crashes_while_it_creates_makes_nothing_twice() {
    let mut world = World::start(1).await;
    let slow = [("DOCKHOST_SIMULATE_DELAY_MS", "300")];
    let alpha = world.add_agent_with("alpha", 5, &slow).await;
    let ada = world.user("ada").await;
    let created = ask(&ada).await;
    // The container is made and not started: the crash falls between the two.
    wait_for_containers(&world, alpha, 1).await;
    world.kill_agent(alpha).await;
    let made = world.containers(alpha).now;
    world.start_agent(alpha, &slow);
    let running = wait_for(&ada, &created, "running").await;
    assert_eq!(Some(running["containerId"].as_str().unwrap()), made.first().map(String::as_str), "{running}");
    let held = world.containers(alpha);
    assert_eq!((held.ever.len(), held.most), (1, 1), "{held:?}");
    world.verify().await;
}

#[tokio::test]
async fn in_a_crowd_nothing_stays_beyond_its_deadline_either() {
    let mut world = World::with(2, &SHORT).await;
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
        ask_to(&ada, method, path, created).await;
    }
    for _ in 0..8 {
        all.push(ask(&ada).await);
    }
    let transient = ["creating", "stopping", "resuming", "deleting"];
    wait_until("no instance is in a transient state", DEADLINE, async || {
        assert_nothing_overdue(&world).await;
        let list = ada.get(INSTANCE).await;
        let still = |instance: &&Value| transient.iter().any(|state| instance["status"] == *state);
        let waiting: Vec<_> = list.data().as_array().into_iter().flatten().filter(still).collect();
        if list.status == 200 && waiting.is_empty() { Ok(()) } else { Err(format!("{waiting:?}")) }
    })
    .await;
    // All of the second eight run on the one machine that answers.
    for created in &all[8..] {
        assert_eq!(shown(&ada, created).await.data()["backend"]["name"], "beta");
    }
    world.resume_agent(alpha).await;
    for created in &all {
        assert_eq!(ada.delete(INSTANCE, which(created)).await.status, 200);
    }
    for agent in 0..2 {
        wait_for_containers(&world, agent, 0).await;
    }
    world.verify().await;
}
