//! The recovery drill: a running system is exported, loses its broker and its database, and is restored from the files.
//! Users find their instances, and the leader's roles act on the final state only.

use std::collections::BTreeMap;
use std::path::Path;

use dockhost::broker::streams::{ASSIGNMENTS, EVENTS, TIMERS};
use futures::TryStreamExt;
use serde_json::{Value, json};

use crate::harness::http::Client;
use crate::harness::wait::DEADLINE;
use crate::harness::{CommandOutput, Mongo, Nats, World, run, wait_until};

async fn dockhost(world: &World, args: &[&str]) -> CommandOutput {
    let output = run(world.data.path(), args, &world.server_env()).await;
    assert_eq!(output.code, 0, "{args:?}: {output:?}");
    output
}

/// The digest of each stored read model; all are equal to the log.
async fn digests(world: &World) -> BTreeMap<String, String> {
    let output = dockhost(world, &["verify"]).await;
    let (mut digests, mut model) = (BTreeMap::new(), "");
    for line in output.out.lines() {
        if let Some((name, _)) = line.split_once(": equal, ") {
            model = name;
        } else if let Some(digest) = line.trim().strip_prefix("stored") {
            digests.insert(model.to_owned(), digest.trim().to_owned());
        }
    }
    assert_eq!(digests.len(), 4, "{output:?}");
    digests
}

async fn caught_up(client: &Client) {
    wait_until("the read models have caught up", DEADLINE, async || {
        let health = client.get("/health").await.body;
        let models = health["projections"].as_object().ok_or_else(|| health.to_string())?;
        if models.values().all(|model| model["lag"] == 0) { Ok(()) } else { Err(health.to_string()) }
    })
    .await;
}

/// Waits until the leader's roles have processed all of the log.
async fn replayed(world: &World) {
    let js = world.nats.main().await.jetstream().clone();
    wait_until("dispatcher, timers and reactions have processed the log", DEADLINE, async || {
        let stream = js.get_stream(EVENTS).await.map_err(|error| error.to_string())?;
        let roles: Vec<_> = stream.consumers().try_collect().await.map_err(|error| error.to_string())?;
        let roles: Vec<_> = roles.into_iter().filter(|role| role.config.durable_name.is_some()).collect();
        let state: Vec<_> = roles.iter().map(|role| (&role.name, role.num_pending, role.num_ack_pending)).collect();
        let done = roles.len() >= 3 && roles.iter().all(|role| role.num_pending == 0 && role.num_ack_pending == 0);
        if done { Ok(()) } else { Err(format!("{state:?}")) }
    })
    .await;
}

/// The number of messages in a stream, and its last sequence.
async fn state(world: &World, stream: &str) -> (u64, u64) {
    let stream = world.nats.main().await.jetstream().get_stream(stream).await.unwrap();
    let state = stream.cached_info().state.clone();
    (state.messages, state.last_sequence)
}

/// The fields of the owner's instances that are in the log.
fn logged_fields(list: &Value) -> Vec<(Value, Value, Value)> {
    let fields = |item: &Value| (item["instanceId"].clone(), item["name"].clone(), item["generation"].clone());
    list.as_array().unwrap().iter().map(fields).collect()
}

/// A history: four instances, of which one was stopped, one resumed and one deleted; users who signed out; a backend
/// that was lost and reconnected, with capacity for one more instance.
async fn history(world: &mut World) -> Client {
    let alpha = world.add_agent("alpha", 4).await;
    let ada = world.user("ada").await;
    for _ in 0..4 {
        assert_eq!(ada.create().await.status, 201);
    }
    let by_name = |name: &str| json!({ "instanceId": name });
    for (path, name) in [("stop", "ada-container"), ("stop", "ada-container-2"), ("resume", "ada-container-2")] {
        let answer = ada.put(&format!("/api/v2/user/instance/{path}"), by_name(name)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(ada.delete("/api/v2/user/instance", by_name("ada-container-3")).await.status, 200);
    let bob = world.user("bob").await;
    assert_eq!(bob.post("/api/v2/user/signout", json!({})).await.status, 200);
    world.kill_agent(alpha).await;
    world.wait_for_backend("alpha", "lost").await;
    world.start_agent(alpha, &[]);
    world.wait_for_backend("alpha", "connected").await;
    caught_up(&world.client(0)).await;
    ada
}

#[tokio::test]
async fn drill_lost_system_is_restored_from_its_export() {
    let mut world = World::with(1, &[("DOCKHOST_LOST_AFTER_MS", "6000")]).await;
    let ada = history(&mut world).await;
    let instances = ada.get("/api/v2/user/instance").await.data().clone();
    assert_eq!(instances.as_array().unwrap().len(), 3);
    let containers = world.containers(0).now;

    // While the server runs, and again after it has stopped.
    let (elsewhere, at) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let export = at.path().join("export").display().to_string();
    dockhost(&world, &["export", &export]).await;
    world.kill_agent(0).await;
    world.kill_replica(0).await;
    dockhost(&world, &["export", &export, "--segment", "10"]).await;
    let before = digests(&world).await;
    let (events, _) = state(&world, EVENTS).await;
    dockhost(&world, &["import", "--check", &export]).await;
    let offline = run(elsewhere.path(), &["import", "--check", &export], &[]).await;
    assert!(
        offline.code == 0 && offline.out.contains(&format!("{events} events, unchanged since the export")),
        "{offline:?}"
    );

    // The broker is lost with its disk.
    world.nats = Nats::with(world.nats.secrets.clone()).await;
    let imported = dockhost(&world, &["import", &export]).await;
    assert!(
        imported.out.contains(&format!("the log has {events} events; this run stored {events} of them")),
        "{imported:?}"
    );

    // The old database belongs to another log and is rebuilt.
    let foreign = run(world.data.path(), &["verify"], &world.server_env()).await;
    assert_eq!(foreign.code, 1, "{foreign:?}");
    dockhost(&world, &["rebuild"]).await;
    assert_eq!(digests(&world).await, before);

    // The server fills an empty database itself. No agent runs, and no backend is marked lost meanwhile.
    world.mongo = Mongo::shared().await;
    world.set("DOCKHOST_LOST_AFTER_MS", "600000");
    world.restart_replica(0).await;
    caught_up(&world.client(0)).await;
    assert_eq!(digests(&world).await, before);

    // The roles acted on the final state only: one assignment per existing instance, no timer, no event.
    replayed(&world).await;
    assert_eq!(state(&world, ASSIGNMENTS).await, (3, 3));
    assert_eq!(state(&world, TIMERS).await, (0, 0));
    assert_eq!(state(&world, EVENTS).await, (events, events));

    // Users find their instances with the old session, and sign in with the old password.
    let ada = ada.at(&world.replicas[0].url);
    assert_eq!(logged_fields(ada.get("/api/v2/user/instance").await.data()), logged_fields(&instances));
    let signin = json!({ "username": "ada", "password": "correct horse" });
    let answer = world.client(0).post("/api/v2/user/signin", signin).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    // The agent reconnects with its containers, which are the desired ones.
    world.start_agent(0, &[]);
    wait_until("the instances are reachable again", DEADLINE, async || {
        let list = ada.get("/api/v2/user/instance").await;
        let status = |item: &Value| item["status"].as_str().unwrap_or_default().to_owned();
        let mut states: Vec<_> = list.data().as_array().unwrap().iter().map(status).collect();
        states.sort();
        if states == ["running", "running", "stopped"] { Ok(()) } else { Err(format!("{states:?}")) }
    })
    .await;
    assert_eq!(ada.create().await.status, 201, "a new instance");
    let now = world.containers(0).now;
    assert!(now.is_superset(&containers) && now.len() == containers.len() + 1, "{containers:?} became {now:?}");
    // The server counts the restored instances: the backend is full.
    let full = world.user("carol").await.create().await;
    assert_eq!((full.status, full.code()), (503, "no_capacity"), "{full:?}");
}

/// From one broker to three, as `docs/OPERATIONS.md` says: nothing is lost, and the instances run on meanwhile.
#[tokio::test]
async fn drill_log_moves_from_one_broker_to_three() {
    let mut world = World::start(1).await;
    let agent = world.add_agent("alpha", 4).await;
    let ada = world.user("ada").await;
    assert_eq!(ada.create().await.status, 201);
    let (at, containers) = (tempfile::tempdir().unwrap(), world.containers(agent).now);
    let export = at.path().join("export").display().to_string();
    dockhost(&world, &["export", &export]).await;
    assert_eq!(ada.create().await.status, 201, "after the first export");
    let instances = ada.get("/api/v2/user/instance").await.data().clone();
    world.stop_replica(0).await;
    dockhost(&world, &["export", &export]).await;
    dockhost(&world, &["import", "--check", &export]).await;
    let before = digests(&world).await;

    world.nats = Nats::cluster_with(world.nats.secrets.clone()).await;
    dockhost(&world, &["import", &export]).await;
    dockhost(&world, &["rebuild"]).await;
    assert_eq!(digests(&world).await, before);
    world.restart_replica(0).await;
    let log = world.nats.main().await.jetstream().get_stream(EVENTS).await.unwrap();
    assert_eq!(log.cached_info().config.num_replicas, 3);
    // The agent gets the new addresses.
    world.stop_agent(agent).await;
    world.start_agent(agent, &[]);
    world.wait_for_backend("alpha", "connected").await;
    let ada = ada.at(&world.replicas[0].url);
    assert_eq!(logged_fields(ada.get("/api/v2/user/instance").await.data()), logged_fields(&instances));
    assert_eq!(ada.create().await.status, 201, "on the new brokers");
    assert!(world.containers(agent).now.is_superset(&containers));
    dockhost(&world, &["verify"]).await;
}

#[tokio::test]
async fn export_and_import_report_wrong_usage() {
    let world = World::start(1).await;
    world.user("ada").await;
    let at = world.data.path();
    let refused = async |args: &[&str], text: &str| {
        let output = run(at, args, &world.server_env()).await;
        assert!(output.code != 0 && output.err.contains(text), "{args:?}: {output:?}");
    };
    refused(&["export"], "<DIRECTORY>").await;
    refused(&["export", "."], "neither empty nor an export").await;
    refused(&["import", "."], "not an export").await;
    refused(&["import", "--check", "nowhere"], "not an export").await;
    dockhost(&world, &["export", "copy"]).await;
    // The server still runs.
    refused(&["import", "copy"], "a server is running").await;
    let mut env = world.server_env();
    env.push(("DOCKHOST_MASTER_KEY", "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=".to_owned()));
    for args in [["import", "copy"], ["export", "another"]] {
        let wrong = run(at, &args, &env).await;
        assert!(wrong.code == 1 && wrong.err.contains("DOCKHOST_MASTER_KEY is not the key"), "{wrong:?}");
    }
    assert!(!Path::new(at).join("another").exists());
    dockhost(&world, &["verify"]).await;
}
